"""What must have become of a task: derived from its template, its script and its attempts, by rules of its own.

Nothing of the runtime is used here, so that a mistake there is not made twice. What the rules cannot know is which
attempts were lost when something died: these are taken from the attempts, and judged by the checker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from chaos.history import Attempt, Task
from chaos.workload import (
    CALLED,
    CONTINUE,
    EXIT,
    FAIL_FAST,
    GROW,
    HOLD,
    KEEP,
    KILL,
    LONG,
    OK,
    OVERRUN,
    PERMANENT,
    RETRYABLE,
    SLICES,
    EventSpec,
    StepSpec,
    TemplateSpec,
)

MODULUS = 1_000_003
WORKER_LOST = "worker_lost"
TIMEOUT = "timeout"
_ERROR_TYPES = {
    RETRYABLE: "retryable_error",
    PERMANENT: "permanent_error",
    EXIT: "handler_error",
    GROW: "handler_error",
    KILL: WORKER_LOST,
    HOLD: WORKER_LOST,
    OVERRUN: TIMEOUT,
}
_BY_CODE = (
    ("code.success", "durable", "success"),
    ("code.failure", "durable", "failure"),
    ("code.always", "fast", "always"),
)


def behaviour(task: Task, step: str, attempt: int) -> str:
    """What the script says that a step does in an attempt, the first being 1."""
    script = task.scripts.get(step, (OK,))
    return script[min(attempt, len(script)) - 1]


def kills(task: Task, step: str, attempt: int) -> bool:
    """Whether an attempt ends its worker by itself."""
    return behaviour(task, step, attempt) in (KILL, HOLD)


def allowed_ends(task: Task, name: str, step: StepSpec, attempt: int) -> Iterator[tuple[str, str | None]]:
    """Every outcome with its error type that an attempt which counts may have."""
    does = behaviour(task, name, attempt)
    if step.handler == "call" and does == OK and _called_fails(task):
        does = PERMANENT
    again = "error" if attempt >= step.max_attempts else "waiting_for_retry"
    if does in (OK, KEEP, LONG):
        yield "complete", None
    else:
        yield "error" if does == PERMANENT else again, _ERROR_TYPES[does]
    yield again, WORKER_LOST
    if step.handler == "call":
        yield again, "handler_error"  # the database was away when it asked for the template
    if step.timeout_s is not None:
        yield again, TIMEOUT


def _called_fails(task: Task) -> bool:
    """Whether the task that a `call` waits for, which has the same scripts, comes to a bad end."""
    return any(PERMANENT in task.scripts.get(each, ()) for each in CALLED.steps)


@dataclass(frozen=True, slots=True)
class StepEnd:
    """What a step must have come to."""

    state: str
    blocked: bool
    value: int | None


Attempts: TypeAlias = Mapping[str, Sequence[Attempt]]
"""Those of a task that count, by step."""


def step_ends(task: Task, template: TemplateSpec, attempts: Attempts) -> dict[str, StepEnd]:
    """Derive the end of every step of a task that ran to its own end."""
    ends: dict[str, StepEnd] = {}
    steps = steps_of(task, template, attempts)
    for name, step in steps.items():
        if any(_bars(steps[each], ends[each]) for each in step.needs):
            undecided = any(_leaves_open(steps[each], ends[each]) for each in step.needs)
            ends[name] = StepEnd("undecided" if undecided else "pending", blocked=True, value=None)
        elif _came_to(attempts, name) == "complete":
            values = [ends[each].value or 0 for each in ancestors(steps, name)] + [_more(task, template, name)]
            ends[name] = StepEnd("complete", blocked=False, value=(task.number + sum(values) + 1) % MODULUS)
        else:
            ended = _came_to(attempts, name) != "error" and _is_cancelled(steps, name, attempts)
            ends[name] = StepEnd("cancelled" if ended else "error", blocked=False, value=None)
    return ends


def _came_to(attempts: Attempts, name: str) -> str | None:
    """What the last attempt of a step came to; None if there was none."""
    counted = attempts.get(name)
    return counted[-1].outcome if counted else None


def _bars(step: StepSpec, end: StepEnd) -> bool:
    """Whether what depends on this step can never run; a batch may go on without an instance that failed."""
    return end.blocked or (end.state in ("error", "cancelled") and not _is_tolerated(step, end))


def _is_tolerated(step: StepSpec, end: StepEnd) -> bool:
    return end.state == "error" and step.on_failure == CONTINUE


def _leaves_open(step: StepSpec, end: StepEnd) -> bool:
    """Whether nobody ever decided if what depends on this step exists."""
    return end.state == "undecided" or (step.kind in ("decision", "batchable") and end.state != "complete")


def _is_cancelled(steps: Mapping[str, StepSpec], name: str, attempts: Attempts) -> bool:
    """Whether a step is an instance of a batch that failed fast: by another instance, which failed for good."""
    others = [each for each in steps if spec_name(each) == spec_name(name) and each != name]
    return steps[name].on_failure == FAIL_FAST and any(_came_to(attempts, each) == "error" for each in others)


def steps_of(task: Task, template: TemplateSpec, attempts: Attempts) -> dict[str, StepSpec]:
    """The steps that a task must have which ran to its own end.

    Those that its number chose, and all instances; where the step failed that was to say so, those of the template.
    """
    found: dict[str, StepSpec] = {}
    for name, step in template.steps.items():
        said = all(_came_to(attempts, needed) == "complete" for needed in step.needs)
        if step.kind == "batch_worker" and said:
            found |= {f"{name}_{number + 1:03d}": step for number in range(task.number % 4 + 1)}
            continue
        above = [each for needed in step.needs for each in found if spec_name(each) == needed]
        decides = said and any(template.steps[needed].kind == "decision" for needed in step.needs)
        if decides and name not in (("odd", "even"), ("odd",), ("even",))[task.number % 3]:
            continue
        if above or not step.needs:
            found[name] = replace(step, needs=above)
    return found


def spec_name(step: str) -> str:
    """The template's name for a step, which an instance of a batch worker has before its number."""
    name, _, number = step.rpartition("_")
    return name if number.isdigit() else step


def _more(task: Task, template: TemplateSpec, name: str) -> int:
    """What a step adds to what is above it: an instance its range, a call what the other task came to."""
    step = template.steps[spec_name(name)]
    if step.kind == "batch_worker":
        begin = (int(name.rpartition("_")[2]) - 1) * SLICES
        return sum(range(begin, begin + SLICES))
    if step.handler == "call":
        above = 0
        for _ in CALLED.steps:  # each of them has those before it above it
            value = task.number + above + 1
            above += value
        return value % MODULUS
    return 0


def ancestors(steps: Mapping[str, StepSpec], name: str) -> set[str]:
    """Every step above a step."""
    direct = steps[name].needs
    return set(direct).union(*(ancestors(steps, each) for each in direct))


def task_status(template: TemplateSpec, ends: Mapping[str, StepEnd]) -> str:
    """What a task comes to that nobody cancels."""
    failed = [name for name, end in ends.items() if end.state == "error"]
    bad = any(not _is_tolerated(template.steps[spec_name(name)], ends[name]) for name in failed)
    return "error" if bad else "complete"


@dataclass(frozen=True, slots=True)
class Due:
    """An event that an attempt calls for: `where` is `queue`, `letters`, `either` of the two, or `fast`."""

    event_name: str
    where: str
    is_broadcast: bool = False


def events_due(task: Task, step: StepSpec, attempt: Attempt) -> Iterator[Due]:
    """Derive what an attempt that counts must have published, one each."""
    lost = attempt.error_type == WORKER_LOST
    if lost and attempt.outcome != "error":
        return
    for event in step.events:
        if _applies(event.condition, attempt.outcome) and (event.is_durable or not lost):
            where = _place(event)
            if where is not None:
                yield Due(event.name, where, event.mode == "broadcast")
    if task.code_events and not lost:
        for name, mode, when in _BY_CODE:
            if _applies(when, attempt.outcome):
                yield Due(name, "fast" if mode == "fast" else "queue")


def _applies(condition: str, outcome: str) -> bool:
    outcomes = {
        "success": ("complete",),
        "failure": ("waiting_for_retry", "error"),
        "retryable_failure": ("waiting_for_retry",),
        "permanent_failure": ("error",),
        "always": ("complete", "waiting_for_retry", "error"),
    }
    return outcome in outcomes[condition]


def _place(event: EventSpec) -> str | None:
    if event.publisher == "Quiet":
        return None
    if event.publisher in ("Raising", "Hanging"):
        return "letters"
    if event.publisher == "Slow":
        # On a stopped worker it is over its limit, which makes its event a dead letter.
        return "either"
    return "queue" if event.is_durable else "fast"
