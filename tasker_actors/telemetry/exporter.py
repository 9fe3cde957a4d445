"""The one thread of a process that sends spans, metrics and log records to the collector (SPEC 4.1).

Everything waits in bounded queues. What does not fit, and what the collector does not take in time, is dropped and
counted; nobody who offers something ever waits. What is in the queues is lost when the process is killed.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from threading import Event, RLock, Thread, current_thread
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope

from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.drop_counter import DropCounter
from tasker_actors.telemetry.export_queue import NOT_DELIVERED, Batch, ExportQueue, OnDropped
from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.otlp import OtlpSender, Signal
from tasker_actors.telemetry.otlp_requests import metrics_requests
from tasker_actors.telemetry.otlp_values import resource, tasker_scope
from tasker_actors.telemetry.transmission import Transmission

MetricsSource = Callable[[], ExportMetricsServiceRequest | None]

MAX_QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Memory that spans, and log records, may hold while they wait; the default of a setting."""


class Exporter:
    """Its thread begins with `start`. All methods are for any thread."""

    def __init__(
        self,
        sender: OtlpSender,
        config: TelemetryConfig,
        resource_attributes: Mapping[str, Any],
        *,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
    ) -> None:
        limits = config.batch_spans
        self._logger = get_logger("tasker_actors.telemetry")
        self._resource = resource(resource_attributes)
        self._scope = tasker_scope()
        self._delay_s = limits.schedule_delay_ms / 1000
        self._metrics_interval_s = config.metric_export_interval_ms / 1000
        self._lock = RLock()
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._spans_lost = DropCounter()
        self._logs_lost = DropCounter()
        self._transmission = Transmission(
            sender,
            request_timeout_s=config.otlp_timeout_s,
            export_timeout_s=limits.export_timeout_ms / 1000,
            wait=self._sleep,
            endpoint=config.otlp_endpoint,
        )
        self._spans = ExportQueue(
            Signal.TRACES,
            wake=self._wake,
            transmission=self._transmission,
            limit=limits.max_queue_size,
            max_bytes=max_queue_bytes,
            batch_size=limits.max_export_batch_size,
            resource=self._resource,
            on_dropped=self._spans_lost.add,
        )
        self._logs = ExportQueue(
            Signal.LOGS,
            wake=self._wake,
            transmission=self._transmission,
            limit=config.batch_log_records.max_queue_size,
            max_bytes=max_queue_bytes,
            batch_size=config.batch_log_records.max_export_batch_size,
            resource=self._resource,
            on_dropped=self._logs_lost.add,
        )
        self._sources: tuple[MetricsSource, ...] = ()
        self._flushes: list[queue.SimpleQueue[bool]] = []
        """Of those who wait for a flush, to be told whether it was done."""
        self._failed = False
        self._collecting = False
        self._stopping = False
        self._stopped = False
        self._over = Event()
        self._thread = Thread(target=self._run, name="telemetry-exporter", daemon=True)

    @property
    def waiting_spans(self) -> int:
        """Spans that wait to be exported; never more than OTEL_BSP_MAX_QUEUE_SIZE, or one batch that is larger."""
        return self._spans.waiting

    @property
    def spans_dropped(self) -> int:
        """Spans dropped so far."""
        return self._spans_lost.count

    @property
    def log_records_dropped(self) -> int:
        """Log records dropped so far, those included that phase 1 could not keep."""
        return self._logs_lost.count

    @property
    def has_stopped(self) -> bool:
        """Whether the export is over."""
        return self._stopped

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def count_drops(self, spans: OnDropped, log_records: OnDropped) -> None:
        """Call these with number and reason of each loss, at once for earlier ones; in the thread that loses."""
        self._spans_lost.tell(spans)
        self._logs_lost.tell(log_records)

    def add_metrics_source(self, collect: MetricsSource) -> None:
        """Export what `collect` returns once an interval, when flushed, and at the end; it runs in this thread.

        It must not take long. Resource metrics without a resource get this process's.
        """
        with self._lock:
            self._sources = (*self._sources, collect)

    def offer(self, batch: Batch, scope: InstrumentationScope | None = None) -> None:
        """Take spans to be exported, or drop and count them where they do not fit; never waits.

        Scopes other than the package's own are one object for equal ones.
        """
        self._spans.offer(scope or self._scope, batch)

    def offer_log(self, batch: Batch, scope: InstrumentationScope) -> None:
        """Take log records to be exported, or drop and count them where they do not fit; never waits."""
        self._logs.offer(scope, batch)

    def count_lost_spans(self, count: int) -> None:
        """Count spans that could not even be offered."""
        self._spans_lost.add(count, NOT_DELIVERED)

    def count_lost_logs(self, count: int, reason: str) -> None:
        """Count log records that were to be exported and were lost before anybody could offer them."""
        if count:
            self._logs_lost.add(count, reason)

    def flush(self, deadline: float) -> bool:
        """Export everything offered so far, metrics too; True if that was tried to the end before the deadline."""
        if current_thread() is self._thread:
            return False
        answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
        with self._lock:
            if self._stopped:
                return False
            self._flushes.append(answer)
        self._wake()
        try:
            return answer.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return False

    def shutdown(self, deadline: float) -> None:
        """Export what can be until the deadline (monotonic) and stop for good; never returns later.

        Called by several threads the earliest deadline counts; each returns when the exporter has stopped.
        """
        began = time.monotonic()
        deadline = self._transmission.end_by(deadline)
        is_own_thread = current_thread() is self._thread
        with self._lock:
            first, self._stopping = not self._stopping, True
        self._wake()
        if not first and not is_own_thread:
            # Not for the thread's end: a request that cannot be cut may keep it for longer.
            self._over.wait(max(0.0, deadline - time.monotonic()))
        if first:
            if self._thread.is_alive() and not is_own_thread:
                self._thread.join(max(0.0, deadline - time.monotonic()))
            self._close(began)

    def _close(self, began: float) -> None:
        self._spans.close()
        self._logs.close()
        with self._lock:
            self._stopped = True
            flushes, self._flushes = self._flushes, []
        for answer in flushes:
            answer.put(False)  # noqa: FBT003 - not done
        self._over.set()
        self._transmission.disconnect()
        lost = {"spans_dropped": self.spans_dropped, "log_records_dropped": self.log_records_dropped}
        took_ms = round((time.monotonic() - began) * 1000)
        if any(lost.values()):
            self._logger.warning(
                "Telemetry export stopped, and not everything was exported", **lost, duration_ms=took_ms
            )
        else:
            self._logger.info("Telemetry export stopped", **lost, duration_ms=took_ms)

    # at a fork

    @property
    def is_collecting(self) -> bool:
        """Whether its thread is in a source of metrics, and may hold locks of OpenTelemetry's SDK."""
        return self._collecting

    def before_fork(self) -> None:
        """Let nothing be under way, if that can be had within 150 ms."""
        self._transmission.hold()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._transmission.release()

    def after_fork_in_child(self) -> None:
        """Let go of everything: thread, connection and whatever waits are the parent's."""
        self._lock = RLock()
        self._calls = queue.SimpleQueue()
        self._stopping = self._stopped = True
        self._over = Event()
        self._over.set()
        self._sources = ()
        self._flushes = []
        self._spans.abandon()
        self._logs.abandon()

    # the thread

    def _run(self) -> None:
        export_at = time.monotonic() + self._delay_s
        metrics_at = time.monotonic() + self._metrics_interval_s
        while True:
            self._wait(self._is_wanted, min(export_at, metrics_at))
            with self._lock:
                flushes, self._flushes = self._flushes, []
                stopping = self._stopping
            at_once = stopping or bool(flushes)
            everything = at_once or time.monotonic() >= export_at
            metrics = at_once or time.monotonic() >= metrics_at
            done = self._export_all(everything=everything, metrics=metrics)
            if everything:
                export_at = time.monotonic() + self._delay_s
            if metrics:
                metrics_at = time.monotonic() + self._metrics_interval_s
            for answer in flushes:
                answer.put(done)
            if stopping:
                return

    def _export_all(self, *, everything: bool, metrics: bool) -> bool:
        """Send what waits now; False if something went wrong that should not have, which is logged the first time.

        The signals take turns, a request each: none starves because another one fails, or comes faster than it leaves.
        """
        left = {each: each.waiting for each in (self._spans, self._logs)}
        try:
            while left or metrics:
                for each in tuple(left):
                    taken = each.export(everything=everything)
                    left[each] -= taken
                    if not taken or left[each] <= 0:
                        del left[each]
                if metrics:
                    metrics = False
                    self._export_metrics()
        except Exception as error:  # what it was about is lost and counted; the thread must go on
            if not self._failed:
                self._failed = True
                self._logger.error("Telemetry could not be exported; further errors are not shown", exc_info=error)
            return False
        return True

    def _is_wanted(self) -> bool:
        return self._stopping or bool(self._flushes) or self._spans.has_full_request or self._logs.has_full_request

    def _sleep(self, seconds: float) -> None:
        """Pause between two attempts; a flush and the end cut it short."""
        before = self._stopping, len(self._flushes)
        self._wait(lambda: (self._stopping, len(self._flushes)) != before, time.monotonic() + seconds)

    def _wait(self, wanted: Callable[[], bool], until: float) -> None:
        """Sleep until then (monotonic) or until it is wanted, whichever comes first."""
        while not wanted() and (left_s := until - time.monotonic()) > 0:
            try:
                self._calls.get(timeout=left_s)
            except queue.Empty:
                return

    def _wake(self) -> None:
        """Let the thread look whether it is wanted; a call into C, which an interruption cannot split."""
        self._calls.put(None)

    def _export_metrics(self) -> None:
        """Send what every source has now; what is lost is in the next figures again."""
        for collect in self._sources:
            try:
                with self._transmission.busy:  # the SDK's locks should not be taken when the process forks
                    self._collecting = True
                    request = collect()
            except Exception as error:  # a user's callback may raise anything; it costs these figures, not the thread
                self._logger.error("Metrics could not be collected", exc_info=error)
                continue
            finally:
                self._collecting = False
            if request is None:
                continue
            for metrics in request.resource_metrics:
                if not metrics.resource.attributes:
                    metrics.resource.CopyFrom(self._resource)
            for body in metrics_requests(request):
                self._transmission.deliver(Signal.METRICS, body)
