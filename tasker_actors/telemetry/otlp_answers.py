"""Reads the answers that a collector gives to a request that it took."""

from __future__ import annotations

from typing import Any, Final

from tasker_actors.telemetry.otlp import Sent, Signal

_REJECTED: Final = {
    Signal.TRACES: "rejected_spans",
    Signal.METRICS: "rejected_data_points",
    Signal.LOGS: "rejected_log_records",
}


def sent(signal: Signal, answer: Any) -> Sent:
    """The request as taken, but for what the answer's `partial_success` says was rejected."""
    partial = answer.partial_success
    return Sent(rejected=max(0, getattr(partial, _REJECTED[signal])), message=partial.error_message)
