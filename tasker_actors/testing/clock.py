"""A time that only a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tasker_actors.steps.failures import StepTimeoutError
from tasker_actors.testing.errors import KitError

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """The clock of handlers, retries, events and spans in a test; it stands still until something moves it.

    A wait for a retry moves it, and so does `asyncio.sleep` in an async handler. A test, or what a handler calls in a
    test, moves it with `advance`. With `tick_s` each look at it by a handler (`remaining_ms`) moves it so far. A sync
    handler that is moved past its time limit gets what a worker raises in it, StepTimeoutError.
    """

    def __init__(self, start: datetime = START, *, tick_s: float = 0.0) -> None:
        if start.tzinfo is None:
            raise KitError(f"the clock cannot start at {start}: give a time with a time zone")
        self.tick_s = tick_s
        self._start = start.astimezone(UTC).replace(microsecond=start.microsecond // 1000 * 1000)
        self._elapsed = 0.0
        self._limit: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._elapsed

    @property
    def start_ns(self) -> int:
        """The start in nanoseconds since 1970."""
        return round(self._start.timestamp() * 1000) * 1_000_000

    def now(self) -> datetime:
        """Return the time of day, as an aware UTC time."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds since the start, after a tick; what a handler's context reads."""
        if self.tick_s:
            self.advance(self.tick_s)
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move on. Raises StepTimeoutError, once, in a handler whose limit is passed by that."""
        if not seconds >= 0:
            raise KitError(f"the clock cannot be moved by {seconds} seconds: time does not go back")
        self._elapsed += seconds
        if self._limit is not None and self._elapsed >= self._limit:
            self._limit = None
            raise StepTimeoutError

    sleep = advance
    """To stand for time.sleep: `monkeypatch.setattr("my_handlers.time.sleep", clock.sleep)`."""

    def advance_to(self, elapsed_s: float) -> None:
        """Move on to that many seconds after the start, or stay where that is over."""
        self.advance(max(0.0, elapsed_s - self._elapsed))

    @contextmanager
    def limited(self, deadline: float) -> Iterator[None]:
        """Interrupt a block that moves the clock to its deadline, in seconds since the start."""
        self._limit = deadline
        try:
            yield
        finally:
            self._limit = None

    def __repr__(self) -> str:
        return f"ManualClock({self.now().isoformat()})"
