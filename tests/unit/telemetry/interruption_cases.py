"""A handler whose time limit passes while it hands over telemetry leaves everything usable (HAZARDS 35).

Run by test_interruption.py in a process of its own.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from support.exporting import Lines, Spans, exporter_to
from support.logging_state import logging_put_back
from support.otlp_receiver import dead_endpoint
from support.waiting import until

from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.exporter import Exporter
from tasker_actors.telemetry.logging import RootHandler, init_console_only


class OutOfTimeError(BaseException):
    """Raised in a handler's thread."""


@pytest.fixture
def exporter() -> Exporter:
    """An exporter that takes everything and whose thread does not run."""
    return exporter_to(dead_endpoint(), OTEL_BSP_MAX_QUEUE_SIZE="1000000000", OTEL_BSP_SCHEDULE_DELAY="3600000")


@pytest.fixture
def lines() -> Iterator[Lines]:
    stream = Lines()
    with logging_put_back():
        init_console_only(TelemetryConfig.from_environ({"LOG_FORMAT": "json"}), stream=stream)
        yield stream


class Handler:
    """A thread that makes calls under a time limit which passes when the test says so."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._guard: CallGuard[str] = CallGuard(OutOfTimeError)
        self._over = threading.Event()
        self.interruptions = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._guard.begin("call", 0.0)
                try:
                    self._call()
                finally:
                    self._guard.end()
            except OutOfTimeError:
                self.interruptions += 1

    def interrupt(self) -> None:
        """Let the time limit of the call under way be over."""
        self._guard.check(time.monotonic(), 3600)

    def end(self) -> None:
        """End after the call under way."""
        self._over.set()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def is_in(self, function: str) -> bool:
        """Whether the innermost function of the thread that is not the standard library's is this."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        while frame is not None and frame.f_code.co_filename == threading.__file__:
            frame = frame.f_back
        return frame is not None and frame.f_code.co_name == function


def test_an_interruption_while_the_lock_is_awaited_leaves_it_free(exporter: Exporter) -> None:
    for _ in range(5):
        with exporter._spans._lock:
            handler = Handler(lambda: exporter.offer(Spans(1)))
            until(lambda handler=handler: handler.is_in("offer"))
            handler.interrupt()
        until(lambda handler=handler: handler.interruptions == 1)
        handler.end()
        assert exporter._spans._lock.acquire(timeout=5)
        exporter._spans._lock.release()


def test_no_interruption_splits_what_belongs_together(exporter: Exporter) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    gc.disable()  # what it calls back is not to be interrupted
    try:
        handler = Handler(lambda: exporter.offer(Spans(3, padding=1)))
        while handler.interruptions < 200:
            handler.interrupt()
        handler.end()
    finally:
        gc.enable()
        sys.setswitchinterval(interval)
    assert exporter.waiting_spans == sum(batch.count for _, batch, _ in exporter._spans._items) > 0
    assert exporter._spans._bytes == sum(size for _, _, size in exporter._spans._items) > 0


def test_an_interruption_of_a_log_line_leaves_logging_working(lines: Lines) -> None:
    (handler_of_root,) = [one for one in logging.getLogger().handlers if isinstance(one, RootHandler)]
    assert handler_of_root.lock is not None
    theirs = logging.Logger("theirs")
    theirs.addHandler(handler_of_root)
    theirs.warning("x")
    for _ in range(5):
        with handler_of_root.lock:
            handler = Handler(lambda: theirs.warning("x"))
            until(lambda handler=handler: len(lines.events()) > 3 or handler.is_in("acquire"))
            handler.interrupt()
        handler.end()
        assert handler_of_root.lock.acquire(timeout=5)
        handler_of_root.lock.release()
