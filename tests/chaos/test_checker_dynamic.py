"""The checker finds what is wrong with decisions, batches and calls, and with what follows from a failure of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from chaos.checker import Known, check
from chaos.history import Attempt, History, Step, Task
from chaos.load import Created
from chaos.spoiling import change, drop
from chaos.workload import (
    CALLED,
    CHILD_KEY,
    OK,
    ORDINARY,
    PERMANENT,
    RETRYABLE,
    TEMPLATES,
    StepSpec,
    TemplateSpec,
)


def without_events(template: TemplateSpec) -> dict[str, StepSpec]:
    """The steps of a template that publish nothing."""
    return {name: replace(step, events=()) for name, step in template.steps.items()}


SPEC = {each.name: replace(each, steps=without_events(each)) for each in (*ORDINARY, CALLED)}


@pytest.fixture(autouse=True)
def silent(monkeypatch):
    """Templates whose steps publish nothing."""
    for template in SPEC.values():
        monkeypatch.setitem(TEMPLATES, (template.namespace, template.name), template)


# All goes well


def branched(number: int = 0) -> tuple[History, Known]:
    """A decision with both branches, a batch of one, and a task that another one has called; nothing was published."""
    values = {
        "choice": {"decide": 1, "odd": 2, "even": 2, "tail": 4, "join": 10},
        "batch_isolate": {"divide": 1, "work_001": 5, "sum": 7},
        "called": {"first": 1, "last": 2},
        "calls": {"call": 3, "after": 4},
    }
    history, created = History(), {}
    for name, steps in values.items():
        key = f"{CHILD_KEY}calls" if name == "called" else name
        history.tasks.append(Task(name, SPEC[name].namespace, name, "complete", key, name, number, {}, False))
        for position, (step, value) in enumerate(steps.items()):
            history.steps.append(
                Step(name, f"{name}-{step}", step, "complete", 1, False, None, None, value, 1),
            )
            history.attempts.append(Attempt(name, step, 10 * position, 1, "complete", 10, None))
        if name != "called":
            created[name] = Created(name, SPEC[name], {}, name)
    return history, Known(created)


def test_decisions_batches_and_calls_that_came_to_what_they_must_have_no_complaint():
    assert list(check(*branched())) == []


BRANCHED: dict[str, tuple[str, Callable[[History, Known], None]]] = {
    "a branch that is missing": ("4 steps of 5", drop("steps", 1)),
    "a convergence that did not see all": ("value=10)", change("steps", 4, value=8)),
    "an instance that is missing": ("2 steps of 3", drop("steps", 6)),
    "a slice that was done twice": ("value=5)", change("steps", 6, value=6)),
    "a child that was started twice": (
        f"2 tasks have the idempotency key {CHILD_KEY}calls",
        lambda history, _: history.tasks.append(replace(history.tasks[2], task_uuid="called")),
    ),
    "a child that is lost": ("calls is complete, and what it waited for is None", change("tasks", 2, key="choice")),
    "a child of nobody": ("started by somebody, which is no task", change("tasks", 2, key=f"{CHILD_KEY}somebody")),
    "a child that was cancelled alone": ("and its caller calls is complete", change("tasks", 2, status="cancelled")),
}


@pytest.mark.parametrize("name", BRANCHED)
def test_each_wrong_decision_batch_or_call_has_its_complaint(name):
    complaint, spoil = BRANCHED[name]
    history, known = branched()
    spoil(history, known)
    found = list(check(history, known))
    assert [each for each in found if complaint in each], found


def test_what_was_not_decided_of_a_cancelled_task_may_be_missing():
    history, known = branched()
    history.tasks[0] = replace(history.tasks[0], status="cancelled")
    known.created["choice"].cancel = "done"
    del history.steps[1:5], history.attempts[1:5]

    assert list(check(history, known)) == []


# Something fails

BLOCKED = ("pending", "undecided")
OUTCOMES = {
    "c": ("complete", None),
    "r": ("waiting_for_retry", "retryable_error"),
    "e": ("error", "permanent_error"),
}

Steps = Mapping[str, tuple[str, str, int | None]]
"""By name: what each of its attempts came to, by first letters of OUTCOMES, its state and its value."""


def one(name: str, number: int, scripts: Mapping[str, Sequence[str]], status: str, steps: Steps) -> History:
    """The history of one task of a template, `t`, in which nothing was published."""
    history = History([Task("t", SPEC[name].namespace, name, status, "t", "t", number, scripts, code_events=False)])
    for place, (step, (letters, state, value)) in enumerate(steps.items()):
        tried = len(letters)
        result = tried if state == "complete" else None
        blocked = state in BLOCKED
        history.steps.append(Step("t", f"t-{step}", step, state, tried, blocked, None, None, value, result))
        for index, letter in enumerate(letters):
            outcome, error = OUTCOMES[letter]
            history.attempts.append(Attempt("t", step, 10 * place + index, index + 1, outcome, 1, error))
    return history


SECOND_FAILS = {"work_001": [RETRYABLE, OK], "work_002": [PERMANENT]}

FAILED: dict[str, History] = {
    "a decision": one(
        "choice",
        0,
        {"decide": [RETRYABLE, PERMANENT]},
        "error",
        {"decide": ("re", "error", None), **dict.fromkeys(("odd", "even", "tail", "join"), ("", "undecided", None))},
    ),
    "a branch": one(
        "choice",
        0,
        {"even": [PERMANENT]},
        "error",
        {
            "decide": ("c", "complete", 1),
            "odd": ("c", "complete", 2),
            "even": ("e", "error", None),
            "tail": ("", "pending", None),
            "join": ("", "pending", None),
        },
    ),
    "a convergence": one(
        "choice",
        1,
        {"join": [RETRYABLE, PERMANENT]},
        "error",
        {"decide": ("c", "complete", 2), "odd": ("c", "complete", 4), "join": ("re", "error", None)},
    ),
    "an analysis": one(
        "batch_isolate",
        1,
        {"divide": [RETRYABLE, PERMANENT]},
        "error",
        {"divide": ("re", "error", None), "work": ("", "undecided", None), "sum": ("", "undecided", None)},
    ),
    "an instance that is isolated": one(
        "batch_isolate",
        1,
        SECOND_FAILS,
        "error",
        {
            "divide": ("c", "complete", 2),
            "work_001": ("rc", "complete", 7),
            "work_002": ("e", "error", None),
            "sum": ("", "pending", None),
        },
    ),
    "an instance that ends the others": one(
        "batch_fail_fast",
        1,
        SECOND_FAILS,
        "error",
        {
            "divide": ("c", "complete", 2),
            "work_001": ("r", "cancelled", None),
            "work_002": ("e", "error", None),
            "sum": ("", "pending", None),
        },
    ),
    "an instance that came after the others": one(
        "batch_fail_fast",
        1,
        SECOND_FAILS,
        "error",
        {
            "divide": ("c", "complete", 2),
            "work_001": ("rc", "complete", 7),
            "work_002": ("e", "error", None),
            "sum": ("", "pending", None),
        },
    ),
    "an instance that the others do without": one(
        "batch_continue_on_failure",
        1,
        SECOND_FAILS,
        "complete",
        {
            "divide": ("c", "complete", 2),
            "work_001": ("rc", "complete", 7),
            "work_002": ("e", "error", None),
            "sum": ("c", "complete", 11),
        },
    ),
    "a task that was called": one(
        "calls", 0, {"last": [PERMANENT]}, "error", {"call": ("e", "error", None), "after": ("", "pending", None)}
    ),
}


def found_in(name: str, spoil: Callable[[History, Known], None] = lambda *_: None) -> list[str]:
    """What the checker complains of in one of these histories, spoiled."""
    history = replace(FAILED[name], **{kind: [*getattr(FAILED[name], kind)] for kind in ("tasks", "steps", "attempts")})
    known = Known({"t": Created("t", SPEC[history.tasks[0].name], {}, "t")})
    spoil(history, known)
    return list(check(history, known))


@pytest.mark.parametrize("name", FAILED)
def test_what_must_follow_from_a_failure_has_no_complaint(name):
    assert found_in(name) == []


def _late_result(history: History, _known: Known) -> None:
    """An instance that was cancelled has a committed result."""
    history.attempts.append(Attempt("t", "work_001", 99, 2, "complete", 1, None))
    history.steps[1] = replace(history.steps[1], attempts=2)


def _without_branches(history: History, _known: Known) -> None:
    del history.steps[1:]


def _nobody_failed(history: History, _known: Known) -> None:
    history.attempts[2] = replace(history.attempts[2], outcome="complete", error_type=None)
    history.steps[2] = replace(history.steps[2], state="complete", value=16, result_attempt=1)


MISTAKEN: dict[str, tuple[str, str, Callable[[History, Known], None]]] = {
    "a branch of a decision that failed runs": (
        "a decision",
        "must be StepEnd(state='undecided', blocked=True",
        change("steps", 1, state="pending"),
    ),
    "branches of a decision that failed are gone": ("a decision", "1 steps of 5", _without_branches),
    "a step below a failed branch is not blocked": ("a branch", "must be StepEnd(", change("steps", 3, blocked=False)),
    "a convergence that failed is forgotten": ("a convergence", "must be error", change("tasks", 0, status="complete")),
    "an analysis that failed has instances": (
        "an analysis",
        "['divide', 'sum', 'work_001'] and not ['divide', 'sum', 'work']",
        change("steps", 1, name="work_001"),
    ),
    "one that is isolated ends the others": (
        "an instance that is isolated",
        "step work_001 is StepEnd(state='cancelled'",
        change("steps", 1, state="cancelled", value=None, result_attempt=None),
    ),
    "one that is isolated does not block": (
        "an instance that is isolated",
        "must be StepEnd(state='pending', blocked=True",
        change("steps", 3, blocked=False),
    ),
    "one that fails fast leaves the others": (
        "an instance that ends the others",
        "must be StepEnd(state='cancelled'",
        change("steps", 1, state="waiting_for_retry"),
    ),
    "one that was cancelled has a result": (
        "an instance that ends the others",
        "is cancelled with 1 committed results",
        _late_result,
    ),
    "one is cancelled and none has failed": (
        "an instance that ends the others",
        "step work_001 is StepEnd(state='cancelled', blocked=False, value=None) and must be StepEnd(state='error'",
        _nobody_failed,
    ),
    "one that is done without fails the task": (
        "an instance that the others do without",
        "is error and must be complete",
        change("tasks", 0, status="error"),
    ),
    "one that is done without blocks": (
        "an instance that the others do without",
        "must be StepEnd(state='complete', blocked=False, value=11)",
        change("steps", 3, state="pending", blocked=True, value=None, result_attempt=None),
    ),
    "one that failed is added up": (
        "an instance that the others do without",
        "value=11)",
        change("steps", 3, value=27),
    ),
    "a call does not see that its task failed": (
        "a task that was called",
        "attempt 1 came to waiting_for_retry, retryable_error",
        change("attempts", 0, outcome="waiting_for_retry", error_type="retryable_error"),
    ),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_each_wrong_consequence_of_a_failure_has_its_complaint(name):
    which, complaint, spoil = MISTAKEN[name]
    found = found_in(which, spoil)
    assert [each for each in found if complaint in each], found
