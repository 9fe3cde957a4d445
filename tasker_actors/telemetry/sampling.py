"""Which traces are recorded: a rule of the trace id alone, so that all processes agree (SPEC 4.1)."""

from __future__ import annotations

from typing import Final

_BOUND_BITS: Final = 64
_ID_MASK: Final = (1 << _BOUND_BITS) - 1


def is_sampled(trace_id: str, ratio: float) -> bool:
    """True for the share `ratio` (0.0 to 1.0) of all trace ids, given as 32 hex digits.

    The rule of OpenTelemetry's TraceIdRatioBased as its Python SDK has it: the lower 64 bits of the id are below
    `round(ratio * 2**64)`. What a lower ratio samples, a higher one samples too.
    """
    return int(trace_id, 16) & _ID_MASK < round(ratio * (1 << _BOUND_BITS))
