"""An exporter as tests start it, and spans for it."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support.logging_state import logging_put_back

from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.exporter import MAX_QUEUE_BYTES, Exporter
from tasker_actors.telemetry.logging import init_console_only
from tasker_actors.telemetry.otlp import make_sender

RESOURCE = {"service.name": "tests"}


@dataclass
class Spans:
    """A batch of spans named `name`, with `padding` bytes each; `encoded_in` is the thread that built them."""

    count: int
    name: str = "span"
    padding: int = 0
    encoded_in: threading.Thread | None = None

    @property
    def size(self) -> int:
        """Bytes that they hold."""
        return self.count * self.padding

    def encode(self) -> Sequence[bytes]:
        """Build them."""
        self.encoded_in = threading.current_thread()
        return [
            Span(
                name=self.name + "x" * self.padding, trace_id=os.urandom(16), span_id=os.urandom(8)
            ).SerializeToString()
            for _ in range(self.count)
        ]


class Lines(io.TextIOWrapper):
    """A stream for log lines that tests read back."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def events(self) -> list[str]:
        """Return the sentences in order."""
        return [line["event"] for line in self.lines()]

    def lines(self, logger: str | None = None) -> list[dict[str, Any]]:
        """Return the lines in order, of one logger only if it is given."""
        assert isinstance(self.buffer, io.BytesIO)
        found = [json.loads(line) for line in self.buffer.getvalue().splitlines()]
        return [line for line in found if logger in (None, line["logger"])]


@contextmanager
def log_lines() -> Iterator[Lines]:
    """Log as a worker does in phase 1, from debug on, to lines that the block reads back."""
    with logging_put_back():
        written = Lines()
        init_console_only(TelemetryConfig.from_environ({"LOG_LEVEL": "debug"}), 0, stream=written)
        yield written


def exporter_to(
    endpoint: str, protocol: str = "grpc", *, max_queue_bytes: int = MAX_QUEUE_BYTES, **variables: str
) -> Exporter:
    """An exporter to this collector, which exports soon; not started."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        **variables,
    }
    config = TelemetryConfig.from_environ(environ)
    return Exporter(make_sender(config), config, RESOURCE, max_queue_bytes=max_queue_bytes)
