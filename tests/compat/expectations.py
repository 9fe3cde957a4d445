"""What came of one task, and what can be expected of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_STYLE = re.compile(r"_(dsl_py|dsl|py)(?=(_\d{3,})?$)")


def plain(name: str) -> str:
    """Return a step's name without what tells the two styles of an example apart."""
    return _STYLE.sub("", name)


@dataclass(frozen=True)
class StepOutcome:
    """What one step came to."""

    state: str
    attempts: int
    result: Any
    error: Any


@dataclass(frozen=True)
class Outcome:
    """What one task came to; steps are by their plain names. `events` are the counts of the router that it added."""

    status: str
    steps: dict[str, StepOutcome]
    events: dict[str, int] = field(default_factory=dict)

    def named(self, prefix: str) -> dict[str, StepOutcome]:
        """Return the steps whose names begin so."""
        return {name: step for name, step in self.steps.items() if name.startswith(prefix)}


Check = tuple[str, Callable[[Outcome], bool]]
"""A sentence, and whether it is so."""


def all_complete() -> Check:
    """Every step of the task is complete."""
    return "all steps complete", lambda outcome: all(step.state == "complete" for step in outcome.steps.values())


def steps_are(*names: str) -> Check:
    """The task has these steps and no others."""
    return f"steps are {', '.join(names)}", lambda outcome: set(outcome.steps) == set(names)


def step_count(count: int) -> Check:
    """The task has so many steps."""
    return f"{count} steps", lambda outcome: len(outcome.steps) == count


def count_of(prefix: str, count: int) -> Check:
    """So many steps have names that begin so."""
    return f"{count} steps {prefix}…", lambda outcome: len(outcome.named(prefix)) == count


def result(step: str, key: str, wanted: Any) -> Check:
    """A value of a step's result."""
    return f"{step}: {key} is {wanted!r}", lambda outcome: _value(outcome, step, key) == wanted


def result_at_least(step: str, key: str, least: float) -> Check:
    """A number of a step's result."""
    return f"{step}: {key} is at least {least}", lambda outcome: (_value(outcome, step, key) or 0) >= least


def no_value(step: str, key: str) -> Check:
    """A number that is 0 or not there."""
    return f"{step}: {key} is 0 or absent", lambda outcome: not _value(outcome, step, key)


def state(prefix: str, wanted: str, attempts: int | None = None) -> Check:
    """The state of the only step whose name begins so, and how often it was tried."""
    times = "" if attempts is None else f" after {attempts} attempts"

    def holds(outcome: Outcome) -> bool:
        found = list(outcome.named(prefix).values())
        return len(found) == 1 and found[0].state == wanted and attempts in (None, found[0].attempts)

    return f"{prefix}… is {wanted}{times}", holds


def attempts_at_least(prefix: str, least: int) -> Check:
    """How often the steps whose names begin so were tried."""
    return f"{prefix}… is tried {least} times or more", lambda outcome: all(
        step.attempts >= least for step in outcome.named(prefix).values()
    )


def events_counted(**least: int) -> Check:
    """How many events the task published, by the counters of the router."""
    said = ", ".join(f"{count} {name}" for name, count in least.items())
    return f"events: {said} or more", lambda outcome: all(
        outcome.events.get(name, 0) >= count for name, count in least.items()
    )


def _value(outcome: Outcome, step: str, key: str) -> Any:
    value = outcome.steps[step].result if step in outcome.steps else None
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
