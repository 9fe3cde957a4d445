"""Which steps of a template exist in a task: known from the start, or only when a decision or a batch says so.

The same rules as `tasker.settle_branches_v1` in the database, for all that needs them without one. A step's fate is
settled once: what exists stays, and what is gone never comes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from tasker_actors.workflow.step_type import StepType


class Fate(Enum):
    """Whether a step exists in a task."""

    UNDECIDED = auto()
    EXISTS = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Branch:
    """What these rules need to know of a step. Where steps are mapped by name, each comes after its dependencies."""

    kind: StepType
    dependencies: Sequence[str]


def settle(
    steps: Mapping[str, Branch],
    fates: Mapping[str, Fate],
    *,
    omitted: Collection[str] = (),
    complete: Collection[str] = (),
) -> dict[str, Fate]:
    """Return the fates as far as they can be known; steps without one are undecided.

    `omitted` are direct dependents that a decision has not named, or batch workers that a batch has not;
    `complete` are the decisions and batchable steps that have said what exists.
    """
    settled: dict[str, Fate] = {}
    for name, step in steps.items():
        fate = fates.get(name, Fate.UNDECIDED)
        if fate is Fate.UNDECIDED:
            fate = Fate.GONE if name in omitted else _fate(step, steps, settled, complete)
        settled[name] = fate
    return settled


def initial_fates(steps: Mapping[str, Branch]) -> dict[str, Fate]:
    """Return the fates with which a task begins: those that are undecided depend on a decision or on a batch."""
    return settle(steps, {})


def _fate(step: Branch, steps: Mapping[str, Branch], fates: Mapping[str, Fate], complete: Collection[str]) -> Fate:
    known = [fates[needed] for needed in step.dependencies if needed in fates]
    if step.kind is StepType.DEFERRED_CONVERGENCE:
        if Fate.EXISTS in known:
            return Fate.EXISTS
        return Fate.UNDECIDED if Fate.UNDECIDED in known else Fate.GONE
    if Fate.GONE in known:
        return Fate.GONE
    if Fate.UNDECIDED in known:
        return Fate.UNDECIDED
    waits = any(
        decides(steps[needed].kind, step.kind) and needed not in complete
        for needed in step.dependencies
        if needed in steps
    )
    return Fate.UNDECIDED if waits else Fate.EXISTS


def decides(needed: StepType, dependent: StepType) -> bool:
    """Tell whether a step of the first type says if its direct dependents of the second type exist."""
    if dependent is StepType.DEFERRED_CONVERGENCE:
        return False
    return needed is StepType.DECISION or (needed is StepType.BATCHABLE and dependent is StepType.BATCH_WORKER)
