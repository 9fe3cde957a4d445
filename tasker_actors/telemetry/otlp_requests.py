"""Puts spans, log records and metrics into OTLP requests that a collector takes.

Spans and log records come serialized. Requests are put together around them in protobuf's wire format, where a message
within another one is a tag, its length and its bytes: to copy messages into messages would cost as much as making them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tasker_actors.telemetry.protobuf_wire import field

MAX_REQUEST_BYTES: Final = 4 << 20
"""What a collector takes by default, because gRPC servers do; what would be larger goes in several requests."""

Scoped = Sequence[tuple[InstrumentationScope, bytes]]
"""Serialized messages with their scopes; equal scopes are one object where they are to be grouped."""

# Field numbers of opentelemetry-proto, the same for traces and logs: of the request, and of what is within it.
_RESOURCE_GROUPS: Final = 1
_RESOURCE, _SCOPE_GROUPS = 1, 2
_SCOPE, _MESSAGES = 1, 2


def requests(resource: Resource, messages: Scoped) -> Iterator[tuple[bytes, int]]:
    """Make requests of spans, or of log records: one, or halves of halves until each is small enough for a collector.

    With each comes the number of its messages. A single message that is too large is a request all the same: the
    collector decides.
    """
    body = _request(resource, messages)
    if len(body) <= MAX_REQUEST_BYTES or len(messages) <= 1:
        yield body, len(messages)
        return
    middle = len(messages) // 2
    yield from requests(resource, messages[:middle])
    yield from requests(resource, messages[middle:])


def metrics_requests(request: ExportMetricsServiceRequest) -> Iterator[bytes]:
    """Serialize metrics: as they are, or each metric by itself where all together are too large."""
    if request.ByteSize() <= MAX_REQUEST_BYTES:
        yield request.SerializeToString()
        return
    for of_resource in request.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                alone = ExportMetricsServiceRequest()
                into = alone.resource_metrics.add(resource=of_resource.resource, schema_url=of_resource.schema_url)
                into.scope_metrics.add(scope=of_scope.scope, schema_url=of_scope.schema_url, metrics=[metric])
                yield alone.SerializeToString()


def _request(resource: Resource, messages: Scoped) -> bytes:
    """Make `ExportTraceServiceRequest` or `ExportLogsServiceRequest`, messages grouped by scope."""
    groups: dict[int, tuple[InstrumentationScope, list[bytes]]] = {}
    for scope, message in messages:
        groups.setdefault(id(scope), (scope, []))[1].append(field(_MESSAGES, message))
    scoped = [
        field(_SCOPE_GROUPS, field(_SCOPE, scope.SerializeToString()) + b"".join(group))
        for scope, group in groups.values()
    ]
    return field(_RESOURCE_GROUPS, field(_RESOURCE, resource.SerializeToString()) + b"".join(scoped))
