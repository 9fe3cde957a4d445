"""What one attempt of a step came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasker_actors.values import value


@value()
class StepSuccess:
    """The handler returned; `result` is any JSON value and becomes the step's result."""

    result: Any
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepFailure:
    """The attempt failed.

    `retryable` is what the handler said; whether there is another attempt also depends on the step's retry policy.
    `retry_after_ms` asks for that delay before the next attempt, in place of the computed one.
    """

    message: str
    error_type: str
    error_code: str | None = None
    retryable: bool = True
    retry_after_ms: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


StepOutcome = StepSuccess | StepFailure
