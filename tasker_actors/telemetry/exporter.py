"""The one thread of a process that sends spans, metrics and log records to the collector (SPEC 4.1).

Everything waits in bounded buffers. What does not fit, and what the collector does not take in time, is dropped and
counted; nobody who offers something ever waits. What is in the buffers is lost when the process is killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from threading import Condition, Thread, current_thread
from typing import Any, Final, Protocol

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.export_buffer import ExportBuffer
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.otlp import OtlpSender, Signal
from tasker_actors.telemetry.otlp_logs import logs_request
from tasker_actors.telemetry.otlp_values import resource
from tasker_actors.telemetry.transmission import Transmission

MetricsSource = Callable[[], ExportMetricsServiceRequest | None]
LogLine = Mapping[str, Any]

MAX_QUEUED_LOG_RECORDS: Final = 8192
MAX_EXPORTED_LOG_RECORDS: Final = 512
MAX_REQUEST_BYTES: Final = 4 << 20
"""What a collector takes by default (gRPC's limit); a larger request is halved."""

logger = get_logger("tasker_actors.telemetry")


class SpanBatch(Protocol):
    """Finished spans that are not built yet."""

    @property
    def count(self) -> int:
        """How many spans `encode` will make."""

    def encode(self) -> Sequence[Span]:
        """Build the spans; called once, in the exporter's thread."""


class Exporter:
    """Starts its thread with `start`. All methods may be called from any thread.

    `scope` is the instrumentation scope of the batches that are offered without one.
    """

    def __init__(
        self,
        sender: OtlpSender,
        config: TelemetryConfig,
        *,
        resource_attributes: Mapping[str, Any],
        scope: InstrumentationScope,
    ) -> None:
        limits = config.batch_spans
        self._resource = resource(resource_attributes)
        self._scope = scope
        self._delay_s = limits.schedule_delay_ms / 1000
        self._metrics_interval_s = config.metric_export_interval_ms / 1000
        self._span_batch = limits.max_export_batch_size
        self._changed = Condition()
        self._spans = ExportBuffer[tuple[InstrumentationScope, SpanBatch]](limits.max_queue_size)
        self._logs = ExportBuffer[LogLine](MAX_QUEUED_LOG_RECORDS)
        self._sources: tuple[MetricsSource, ...] = ()
        self._on_dropped: Callable[[int], None] | None = None
        self._spans_dropped = 0
        self._logs_dropped = 0
        self._uncounted = 0
        self._under_way = {Signal.TRACES: 0, Signal.LOGS: 0}
        self._flushes_wanted = 0
        self._flushes_done = 0
        self._stopping = False
        self._closed = False
        self._transmission = Transmission(
            sender,
            request_timeout_s=config.otlp_timeout_s,
            export_timeout_s=limits.export_timeout_ms / 1000,
            wait=self._sleep,
            logger=logger,
            endpoint=config.otlp_endpoint,
        )
        self._thread = Thread(target=self._run, name="telemetry-exporter", daemon=True)

    @property
    def spans_dropped(self) -> int:
        """Spans dropped so far."""
        return self._spans_dropped

    @property
    def log_records_dropped(self) -> int:
        """Log records dropped so far."""
        return self._logs_dropped

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def count_drops(self, on_dropped: Callable[[int], None]) -> None:
        """Call `on_dropped(count)` for spans that are dropped, at once for those that already were; from any thread."""
        with self._changed:
            self._on_dropped = on_dropped
            uncounted, self._uncounted = self._uncounted, 0
        if uncounted:
            on_dropped(uncounted)

    def add_metrics_source(self, collect: MetricsSource) -> None:
        """Export what `collect` returns, once an interval, when flushed and at the end; it runs in this thread.

        Resource metrics without a resource get this process's.
        """
        with self._changed:
            self._sources = (*self._sources, collect)

    def offer(self, batch: SpanBatch, scope: InstrumentationScope | None = None) -> None:
        """Take spans to be exported, or drop and count them where they do not fit; never waits."""
        with self._changed:
            taken = not self._closed and self._spans.offer((scope or self._scope, batch), batch.count)
            if taken and self._spans.weight >= self._span_batch:
                self._changed.notify_all()
        if not taken:
            self._drop_spans(batch.count)

    def offer_log(self, line: LogLine) -> None:
        """Take the fields of one log line, or drop and count it where it does not fit; never waits."""
        with self._changed:
            if self._closed:
                return
            if not self._logs.offer(line, 1):
                self._logs_dropped += 1
            elif self._logs.weight >= MAX_EXPORTED_LOG_RECORDS:
                self._changed.notify_all()

    def flush(self, deadline: float) -> bool:
        """Export everything that was offered, metrics too; True if that was tried to the end before the deadline."""
        if current_thread() is self._thread:
            return False
        with self._changed:
            self._flushes_wanted += 1
            wanted = self._flushes_wanted
            self._changed.notify_all()
            while self._flushes_done < wanted and not self._closed:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(left_s)
            return self._flushes_done >= wanted

    def shutdown(self, deadline: float) -> None:
        """Export what can be until the deadline (monotonic) and stop for good; never returns later.

        Called by several threads at once, the earliest deadline counts, and each returns when the exporter has stopped.
        """
        self._transmission.end_by(deadline)
        with self._changed:
            first, self._stopping = not self._stopping, True
            self._changed.notify_all()
        if current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if first:
            self._close()

    def _close(self) -> None:
        with self._changed:
            self._closed = True
            spans = self._spans.clear() + self._under_way[Signal.TRACES]
            self._logs_dropped += self._logs.clear() + self._under_way[Signal.LOGS]
            self._under_way = dict.fromkeys(self._under_way, 0)
            self._changed.notify_all()
        self._drop_spans(spans)
        if self._thread.is_alive():
            self._transmission.disconnect()
        log = logger.warning if self._spans_dropped or self._logs_dropped else logger.info
        log(
            "Telemetry export stopped",
            spans_dropped=self._spans_dropped,
            log_records_dropped=self._logs_dropped,
        )

    # at a fork

    def before_fork(self) -> bool:
        """Let no request be under way; the answer is for `after_fork_in_parent`."""
        return self._transmission.hold()

    def after_fork_in_parent(self, *, held: bool) -> None:
        """Go on."""
        if held:
            self._transmission.release()

    def after_fork_in_child(self) -> None:
        """Let go of everything: thread and connections are the parent's, and so is what waits to be exported."""
        self._changed = Condition()
        self._closed = True
        self._on_dropped = None
        self._sources = ()
        self._spans.clear()
        self._logs.clear()

    # the thread

    def _run(self) -> None:
        spans_at = time.monotonic() + self._delay_s
        metrics_at = time.monotonic() + self._metrics_interval_s
        while True:
            with self._changed:
                while not (self._is_wanted or time.monotonic() >= min(spans_at, metrics_at)):
                    self._changed.wait(max(0.0, min(spans_at, metrics_at) - time.monotonic()))
                wanted, stopping = self._flushes_wanted, self._stopping
                everything = stopping or wanted > self._flushes_done or time.monotonic() >= spans_at
                metrics = stopping or wanted > self._flushes_done or time.monotonic() >= metrics_at
            self._export_buffers(everything=everything)
            if metrics:
                self._export_metrics()
                metrics_at = time.monotonic() + self._metrics_interval_s
            if everything:
                spans_at = time.monotonic() + self._delay_s
            with self._changed:
                self._flushes_done = wanted
                self._changed.notify_all()
            if stopping:
                return

    @property
    def _is_wanted(self) -> bool:
        return (
            self._stopping
            or self._flushes_wanted > self._flushes_done
            or self._spans.weight >= self._span_batch
            or self._logs.weight >= MAX_EXPORTED_LOG_RECORDS
        )

    def _sleep(self, seconds: float) -> None:
        """Pause between two attempts; stopping and flushing end it."""
        with self._changed:
            stopping, wanted = self._stopping, self._flushes_wanted
            self._changed.wait_for(lambda: (self._stopping, self._flushes_wanted) != (stopping, wanted), seconds)

    def _export_buffers(self, *, everything: bool) -> None:
        """Send full batches; with `everything` also the last ones."""
        while (batches := self._take_spans(1 if everything else self._span_batch)) is not None:
            self._export_spans(batches)
        while (lines := self._take_logs(1 if everything else MAX_EXPORTED_LOG_RECORDS)) is not None:
            self._export_logs(lines)

    def _take_spans(self, least: int) -> list[tuple[InstrumentationScope, SpanBatch]] | None:
        with self._changed:
            if self._spans.weight < least:
                return None
            batches = self._spans.take(self._span_batch)
            self._under_way[Signal.TRACES] = sum(batch.count for _, batch in batches)
            return batches

    def _take_logs(self, least: int) -> list[LogLine] | None:
        with self._changed:
            if self._logs.weight < least:
                return None
            lines = self._logs.take(MAX_EXPORTED_LOG_RECORDS)
            self._under_way[Signal.LOGS] = len(lines)
            return lines

    def _export_spans(self, batches: Sequence[tuple[InstrumentationScope, SpanBatch]]) -> None:
        spans: list[tuple[InstrumentationScope, Span]] = []
        for scope, batch in batches:
            try:
                spans += [(scope, span) for span in batch.encode()]
            except Exception as error:
                logger.error("Spans could not be built", batch=type(batch).__name__, spans=batch.count, exc_info=error)
        expected = self._under_way[Signal.TRACES]
        lost = max(0, expected - len(spans))
        for begin in range(0, len(spans), self._span_batch):
            lost += self._send_spans(spans[begin : begin + self._span_batch])
        with self._changed:
            counted = not self._closed
            self._under_way[Signal.TRACES] = 0
        if counted:
            self._drop_spans(lost)

    def _send_spans(self, spans: Sequence[tuple[InstrumentationScope, Span]]) -> int:
        """Send spans in one request, or in several where they are large; returns how many were lost."""
        request = ExportTraceServiceRequest()
        into = request.resource_spans.add(resource=self._resource)
        for _, group in groupby(spans, key=lambda one: id(one[0])):
            scoped = list(group)
            into.scope_spans.add(scope=scoped[0][0], spans=[span for _, span in scoped])
        body = request.SerializeToString()
        if len(body) > MAX_REQUEST_BYTES and len(spans) > 1:
            middle = len(spans) // 2
            return self._send_spans(spans[:middle]) + self._send_spans(spans[middle:])
        sent = self._transmission.deliver(Signal.TRACES, body)
        return len(spans) if sent is None else min(sent.rejected, len(spans))

    def _export_logs(self, lines: Sequence[LogLine]) -> None:
        lost = self._send_logs(lines)
        with self._changed:
            if not self._closed:
                self._logs_dropped += lost
            self._under_way[Signal.LOGS] = 0

    def _send_logs(self, lines: Sequence[LogLine]) -> int:
        body = logs_request(self._resource, lines).SerializeToString()
        if len(body) > MAX_REQUEST_BYTES and len(lines) > 1:
            middle = len(lines) // 2
            return self._send_logs(lines[:middle]) + self._send_logs(lines[middle:])
        sent = self._transmission.deliver(Signal.LOGS, body)
        return len(lines) if sent is None else min(sent.rejected, len(lines))

    def _export_metrics(self) -> None:
        """Send what every source has now. What is not taken is not repeated: the next figures include it."""
        for source in self._sources:
            try:
                request = source()
            except Exception as error:
                logger.error("Metrics could not be collected", exc_info=error)
                continue
            if request is None:
                continue
            for metrics in request.resource_metrics:
                if not metrics.resource.attributes:
                    metrics.resource.CopyFrom(self._resource)
            self._transmission.deliver(Signal.METRICS, request.SerializeToString())

    def _drop_spans(self, count: int) -> None:
        if not count:
            return
        with self._changed:
            self._spans_dropped += count
            on_dropped = self._on_dropped
            if on_dropped is None:
                self._uncounted += count
        if on_dropped is not None:
            on_dropped(count)
