"""Puts spans, log records and metrics into OTLP requests that a collector takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

MAX_REQUEST_BYTES: Final = 4 << 20
"""What a collector takes by default, because gRPC servers do; what would be larger goes in several requests."""

T = TypeVar("T")
Scoped = Sequence[tuple[InstrumentationScope, T]]
"""Messages with their scopes; equal scopes are one object where they are to be grouped."""


def spans_request(resource: Resource, spans: Scoped[Span]) -> bytes:
    """Serialize spans, grouped by scope."""
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add(resource=resource)
    for scope, group in _by_scope(spans):
        of_resource.scope_spans.add(scope=scope, spans=group)
    return bytes(request.SerializeToString())


def logs_request(resource: Resource, records: Scoped[LogRecord]) -> bytes:
    """Serialize log records, grouped by scope."""
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add(resource=resource)
    for scope, group in _by_scope(records):
        of_resource.scope_logs.add(scope=scope, log_records=group)
    return bytes(request.SerializeToString())


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


def in_parts(messages: Sequence[T], serialize: Callable[[Sequence[T]], bytes]) -> Iterator[tuple[bytes, int]]:
    """Serialize messages, in halves of halves until each part is small enough; each with its number of messages.

    A single message that is too large is a part all the same: the collector decides.
    """
    body = serialize(messages)
    if len(body) <= MAX_REQUEST_BYTES or len(messages) <= 1:
        yield body, len(messages)
        return
    middle = len(messages) // 2
    yield from in_parts(messages[:middle], serialize)
    yield from in_parts(messages[middle:], serialize)


def _by_scope(messages: Scoped[T]) -> Iterator[tuple[InstrumentationScope, list[T]]]:
    groups: dict[int, tuple[InstrumentationScope, list[T]]] = {}
    for scope, message in messages:
        groups.setdefault(id(scope), (scope, []))[1].append(message)
    yield from groups.values()
