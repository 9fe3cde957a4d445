"""Handlers of decision steps as classes, under tasker-py's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from tasker_actors.steps.decision import DecisionPointOutcome
from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.result import StepHandlerResult


class _Named(Protocol):
    """What the mixin takes from the handler that it is mixed into."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...


class DecisionMixin:
    """Adds to a StepHandler the results of a decision; every one names its handler in the metadata."""

    decision_capabilities: ClassVar[Sequence[str]] = ("decision", "routing")

    def decision_success(
        self: _Named,
        steps: Sequence[str],
        routing_context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StepHandlerResult:
        """Complete the decision for these steps."""
        outcome = DecisionPointOutcome.create_steps(steps, routing_context=routing_context)
        return _decided(self, outcome, metadata)

    def decision_success_with_outcome(
        self: _Named, outcome: DecisionPointOutcome, metadata: Mapping[str, Any] | None = None
    ) -> StepHandlerResult:
        """Complete the decision with an outcome that was made before."""
        return _decided(self, outcome, metadata)

    def decision_no_branches(
        self: _Named, outcome: DecisionPointOutcome, metadata: Mapping[str, Any] | None = None
    ) -> StepHandlerResult:
        """Complete the decision with an outcome for no steps."""
        return _decided(self, outcome, metadata)

    def route_to_steps(
        self: _Named,
        step_names: Sequence[str],
        routing_context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StepHandlerResult:
        """Complete the decision for these steps: the older name of `decision_success`."""
        outcome = DecisionPointOutcome.create_steps(step_names, routing_context=routing_context)
        return _decided(self, outcome, metadata)

    def skip_branches(
        self: _Named,
        reason: str,
        routing_context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StepHandlerResult:
        """Complete the decision for no steps, and say why."""
        return _decided(self, DecisionPointOutcome.no_branches(reason, routing_context), metadata)

    def decision_failure(
        self: _Named,
        message: str,
        error_type: str = "decision_error",
        retryable: bool = False,  # noqa: FBT001, FBT002 - third by position in tasker-py, whose modules run here
        metadata: Mapping[str, Any] | None = None,
    ) -> StepHandlerResult:
        """Fail the decision, for good unless `retryable`: the data it needs is mostly what is missing."""
        return StepHandlerResult.failure(message, error_type, retryable, _signed(self, metadata))


class DecisionHandler(DecisionMixin, StepHandler):
    """A decision step's handler as a class; derive from it and return `decision_success` or `skip_branches`."""

    @property
    def capabilities(self) -> list[str]:
        """What the handler can do, for its author's use."""
        return ["process", *self.decision_capabilities]


def _decided(handler: _Named, outcome: DecisionPointOutcome, metadata: Mapping[str, Any] | None) -> StepHandlerResult:
    return StepHandlerResult.success(outcome.document(), _signed(handler, metadata))


def _signed(handler: _Named, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**(metadata or {}), "decision_handler": handler.name, "decision_version": handler.version}
