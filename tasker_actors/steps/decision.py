"""What a decision step decides: which of the template's later steps exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, Field


class DecisionType(StrEnum):
    """The two ways a decision can go."""

    CREATE_STEPS = "create_steps"
    NO_BRANCHES = "no_branches"


class DecisionPointOutcome(BaseModel):
    """The steps that a decision wants, or the reason why it wants none.

    `routing_context` becomes part of the decision's result, for the steps behind it. `dynamic_steps` are kept in the
    result too and nothing more: a step exists only if its template defines it.
    """

    decision_type: DecisionType
    next_step_names: list[str] = Field(default_factory=list)
    dynamic_steps: list[dict[str, Any]] | None = None
    reason: str | None = None
    routing_context: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def create_steps(
        cls,
        step_names: Sequence[str],
        dynamic_steps: Sequence[dict[str, Any]] | None = None,
        routing_context: Mapping[str, Any] | None = None,
    ) -> Self:
        """Decide for these steps."""
        return cls(
            decision_type=DecisionType.CREATE_STEPS,
            next_step_names=list(step_names),
            dynamic_steps=None if dynamic_steps is None else list(dynamic_steps),
            routing_context=dict(routing_context or {}),
        )

    @classmethod
    def no_branches(cls, reason: str, routing_context: Mapping[str, Any] | None = None) -> Self:
        """Decide for none, and say why."""
        return cls(decision_type=DecisionType.NO_BRANCHES, reason=reason, routing_context=dict(routing_context or {}))

    def document(self) -> dict[str, Any]:
        """Return the decision step's result, as the runtime reads it."""
        if self.decision_type is DecisionType.CREATE_STEPS:
            outcome: dict[str, Any] = {"type": self.decision_type.value, "step_names": self.next_step_names}
            result: dict[str, Any] = {"decision_point_outcome": outcome}
            if self.dynamic_steps:
                result["dynamic_steps"] = self.dynamic_steps
        else:
            outcome = {"type": self.decision_type.value, **({"reason": self.reason} if self.reason else {})}
            result = {"decision_point_outcome": outcome, "reason": self.reason}
        if self.routing_context:
            result["routing_context"] = self.routing_context
        return result


@dataclass(frozen=True, slots=True)
class Decision:
    """What a function with `decision_handler` returns: `Decision.route([...])` or `Decision.skip("why")`."""

    outcome: DecisionPointOutcome

    @classmethod
    def route(cls, steps: Sequence[str], **routing_context: Any) -> Self:
        """Decide for these steps; further arguments become the `routing_context`."""
        return cls(DecisionPointOutcome.create_steps(steps, routing_context=routing_context))

    @classmethod
    def skip(cls, reason: str, **routing_context: Any) -> Self:
        """Decide for none, and say why."""
        return cls(DecisionPointOutcome.no_branches(reason, routing_context))
