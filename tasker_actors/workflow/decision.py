"""What a decision step may answer, and what follows from it for the steps below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasker_actors.workflow.conditional import Branch, Fate, decides, settle
from tasker_actors.workflow.nearest import hint
from tasker_actors.workflow.outcome_fault import OutcomeFault, OutcomePart, shown
from tasker_actors.workflow.step_type import StepType

DECISION_KEY = "decision_point_outcome"
INVALID_DECISION = "invalid_decision"
CREATE_STEPS = "create_steps"
NO_BRANCHES = "no_branches"


@dataclass(frozen=True, slots=True)
class DecisionPoint:
    """A decision of a template; `steps` are all steps of that, `below` those that depend on this one in any way."""

    template: str
    step: str
    steps: Mapping[str, Branch]
    below: frozenset[str]

    @property
    def choices(self) -> tuple[str, ...]:
        """The steps that exist only if this decision names them."""
        return tuple(
            name
            for name, step in self.steps.items()
            if self.step in step.dependencies and decides(StepType.DECISION, step.kind)
        )

    def omits(self, result: Any, *, max_steps: int) -> tuple[str, ...]:
        """Return the choices that a result leaves out; OutcomeFault where it cannot be followed."""
        named = self._named(result, max_steps)
        omitted = tuple(name for name in self.choices if name not in named)
        self._check_existence(named, omitted)
        return omitted

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"decision {self.step!r} of template {self.template}"

    def _named(self, result: Any, max_steps: int) -> dict[str, int]:
        """Return the named steps with their places in the list."""
        said = OutcomePart(result, INVALID_DECISION, self.place, "result").get(DECISION_KEY)
        outcome = OutcomePart(said, INVALID_DECISION, self.place, DECISION_KEY)
        if outcome.choice("type", (CREATE_STEPS, NO_BRANCHES)) == NO_BRANCHES:
            return {}
        names = outcome.list("step_names")
        if not names:
            raise outcome.fault("step_names", f"names no step: say so with type {NO_BRANCHES!r}")
        if len(names) > max_steps:
            raise outcome.fault("step_names", f"names {len(names)} steps; decisions.max_steps is {max_steps}")
        named: dict[str, int] = {}
        for index, name in enumerate(names):
            key = f"step_names[{index}]"
            if not isinstance(name, str) or name not in self.steps:
                nearest = hint(name, self.choices) or hint(name, self.steps) if isinstance(name, str) else ""
                raise outcome.fault(key, f"there is no step {shown(name)}{nearest}")
            if name not in self.below:
                meant = f"; its choices are {', '.join(self.choices) or 'none'}"
                raise outcome.fault(key, f"{name!r} does not depend on this decision{meant}")
            if name in named:
                raise outcome.fault(key, f"{name!r} is named twice")
            named[name] = index
        return named

    def _check_existence(self, named: Mapping[str, int], omitted: tuple[str, ...]) -> None:
        """Refuse names of later steps that would not exist, or about which another decision has to be asked first."""
        outside = {name: Fate.EXISTS for name in self.steps if name not in self.below}
        fates = settle(self.steps, outside, omitted=omitted, complete=(*outside, self.step))
        for name, index in named.items():
            if fates[name] is Fate.EXISTS or name in self.choices:
                continue
            why = (
                "would not exist: not all that it depends on is named"
                if fates[name] is Fate.GONE
                else "is decided later, by a step that has not run yet"
            )
            raise OutcomeFault(INVALID_DECISION, self.place, f"{DECISION_KEY}.step_names[{index}]", f"{name!r} {why}")
