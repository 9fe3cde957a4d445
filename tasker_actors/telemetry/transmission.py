"""Gets one request to the collector: repeats it within bounds, and says once that it fails and once that it works."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from threading import RLock
from typing import Final, assert_never

from tasker_actors.telemetry.logging import get_logger
from tasker_actors.telemetry.otlp import Failed, OtlpSender, Refused, SendResult, Sent, Signal

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_LAST_PAUSE_S: Final = 0.1
"""Between the attempts of a process that ends."""
_JITTER: Final = 0.25
_LEAST_TIMEOUT_S: Final = 0.001
_QUIESCE_S: Final = 0.05
_INTERRUPT_S: Final = 0.1


class Transmission:
    """`deliver` is for the exporter's thread, everything else for any.

    `wait(seconds)` sleeps until then or until the exporter is wanted for something.
    """

    def __init__(
        self,
        sender: OtlpSender,
        *,
        request_timeout_s: float,
        export_timeout_s: float,
        wait: Callable[[float], None],
        endpoint: str,
    ) -> None:
        self._sender = sender
        self._logger = get_logger("tasker_actors.telemetry")
        self._request_timeout_s = request_timeout_s
        self._export_timeout_s = export_timeout_s
        self._wait = wait
        self._endpoint = endpoint
        self._failing: set[Signal] = set()
        self.busy = RLock()
        """Held while a request is under way, and by whoever wants none to be."""
        self._rejecting: set[Signal] = set()
        self._end_by = inf

    def deliver(self, signal: Signal, body: bytes) -> Sent | None:
        """Send a serialized request, again and again until the export's time limit; None if it was not taken.

        A process that ends does not insist: after two failures in a row it is over.
        """
        give_up_at = time.monotonic() + self._export_timeout_s
        pause_s = _FIRST_PAUSE_S
        while (left_s := min(give_up_at, self._end_by) - time.monotonic()) > _LEAST_TIMEOUT_S:
            was_failing = signal in self._failing
            with self.busy:
                result = self._sender.send(signal, body, min(left_s, self._request_timeout_s))
            self._note(signal, result)
            match result:
                case Sent():
                    return result
                case Refused():
                    return None
                case Failed(_, retry_after_s):
                    ends = self._end_by < inf
                    if ends and was_failing:
                        return None
                    jittered_s = pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
                    left_s = give_up_at - time.monotonic()
                    self._wait(_LAST_PAUSE_S if ends else min(max(jittered_s, retry_after_s), max(0.0, left_s)))
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                case _:
                    assert_never(result)
        return None

    def end_by(self, deadline: float) -> float:
        """Let nothing last beyond this moment (monotonic), or an earlier one that was set before; returns which."""
        self._end_by = min(self._end_by, deadline)
        return self._end_by

    def disconnect(self) -> None:
        """End a request under way where the transport can."""
        self._sender.disconnect()

    def hold(self) -> None:
        """Let no request be under way and no connection be open until `release`; for the moment of a fork.

        A request under way gets a moment, then it is cut and sent again later. If even that does not help it goes on.
        """
        held = self.busy.acquire(timeout=_QUIESCE_S)
        if not held:
            self._sender.disconnect()
            self.busy.acquire(timeout=_INTERRUPT_S)
        self._sender.quiesce(_QUIESCE_S)

    def release(self) -> None:
        """Let requests go again, if this thread holds them: `hold` may have failed, or been interrupted anywhere."""
        with suppress(RuntimeError):
            self.busy.release()

    def _note(self, signal: Signal, result: SendResult) -> None:
        """Log the first failure and the first success after it, and no line for each of those between them."""
        if isinstance(result, Sent):
            if signal in self._failing:
                self._failing.discard(signal)
                self._logger.info(
                    "Export to the collector works again", signal=signal.value, otlp_endpoint=self._endpoint
                )
            if not result.rejected:
                self._rejecting.discard(signal)
            elif signal not in self._rejecting:
                self._rejecting.add(signal)
                self._logger.warning(
                    "The collector rejected part of an export",
                    signal=signal.value,
                    otlp_endpoint=self._endpoint,
                    rejected=result.rejected,
                    reason=result.message,
                )
        elif signal not in self._failing:
            self._failing.add(signal)
            self._logger.warning(
                "Export to the collector fails; what does not fit the buffer is dropped and counted",
                signal=signal.value,
                otlp_endpoint=self._endpoint,
                reason=result.reason,
                will_retry=isinstance(result, Failed),
            )
