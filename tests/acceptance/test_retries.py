"""Failed attempts: how often, how long between them, and what the handler is told (SPEC 5, 6)."""

from __future__ import annotations

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

HANDLERS = '''
from tasker_actors import PermanentError, RetryableError, StepHandler, step_handler

@step_handler("fails")
def fails(context):
    """Fails until the attempt that the task asks for, and then gives what it was told in each."""
    context.logger.info("attempt", retry_count=context.retry_count)
    if context.retry_count + 1 < context.get_input("succeeds_in", 99):
        raise ValueError(f"failure {context.retry_count}")
    return {"retry_count": context.retry_count, "max_retries": context.max_retries, "is_retry": context.is_retry(),
            "is_last_retry": context.is_last_retry()}

@step_handler("asks_for_time")
def asks_for_time(context):
    if not context.is_retry():
        raise RetryableError("later", retry_after=context.get_input("seconds"), error_code="BUSY")
    return {}

@step_handler("permanent")
def permanent():
    raise PermanentError("never", error_code="NO", metadata={"why": "because"})

class States(StepHandler):
    handler_name = "states"
    def call(self, context):
        return self.failure("as stated", error_type="Stated", error_code="S1", metadata={"hint": 1},
                            retryable=context.get_input("retryable"))

@step_handler("large")
def large(context):
    return {"text": "x" * context.get_input("characters")}

@step_handler("nan")
def nan():
    return {"value": float("nan")}
'''

BACKOFFS = {
    "none": {"backoff": "none", "backoff_base_ms": 10_000},
    "linear": {"backoff": "linear", "backoff_base_ms": 100},
    "exponential": {"backoff": "exponential", "backoff_base_ms": 100},
    "fibonacci": {"backoff": "fibonacci", "backoff_base_ms": 100},
    "bounded": {"backoff": "exponential", "backoff_base_ms": 100, "max_backoff_ms": 150},
}
DELAYS_MS = {
    "none": [0, 0, 0, 0],
    "linear": [100, 200, 300, 400],
    "exponential": [100, 200, 400, 800],
    "fibonacci": [100, 100, 200, 300],
    "bounded": [100, 150, 150, 150],
}
JITTER = 0.85
MAX_RESULT_BYTES = 10_000


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("retries") / "project")
    project.module("retry_handlers", HANDLERS)
    for name, backoff in BACKOFFS.items():
        project.template(f"backoff_{name}", {"fails": {"retry": {"max_attempts": 5, **backoff}}}, namespace="retries")
    quick = {"max_attempts": 3, "backoff": "none"}
    for name in ("fails", "states", "permanent", "nan", "large"):
        project.template(name, {name: {"retry": quick}}, namespace="retries")
    project.template("not_retryable", {"fails": {"retry": {**quick, "retryable": False}}}, namespace="retries")
    project.template("asks_for_time", {"asks_for_time": {"retry": quick}}, namespace="retries")
    project.template("defaults", {"fails": {}}, namespace="retries")
    small = {"TASKER_WORKER__MAX_RESULT_BYTES": str(MAX_RESULT_BYTES)}
    with embedded_server.database(migrated=True) as url, supervised(project, url, variables=small) as found:
        yield found


@pytest.fixture(scope="module")
def backoffs(one):
    """A task of each kind of backoff, all run at the same time."""
    started = {
        name: one.create(f"backoff_{name}", namespace="retries", context={"succeeds_in": 5}) for name in BACKOFFS
    }
    for task_uuid in started.values():
        one.wait(task_uuid, "complete")
    return started


@pytest.mark.parametrize("name", BACKOFFS)
def test_the_pauses_between_attempts_are_those_of_the_backoff(one, backoffs, name):
    attempts = one.attempts(backoffs[name], "fails")

    assert [(row["attempt"], row["outcome"]) for row in attempts] == [
        *((number, "waiting_for_retry") for number in range(1, 5)),
        (5, "complete"),
    ]
    for row, expected_ms in zip(attempts[1:], DELAYS_MS[name], strict=True):
        assert row["gap_s"] * 1000 >= expected_ms * JITTER
    assert sum(row["gap_s"] for row in attempts[1:]) < 20, "a base of 10 s must not count where there is no backoff"


def test_a_step_waits_for_its_retry_in_a_state_of_its_own_and_says_when_it_is_due(one):
    task_uuid = one.create("asks_for_time", namespace="retries", context={"seconds": 600})

    until(lambda: one.steps(task_uuid)["asks_for_time"]["status"] == "waiting_for_retry")

    step = one.steps(task_uuid)["asks_for_time"]
    assert step["retry_at"] is not None
    assert (step["attempts"], step["error"]["error_code"]) == (1, "BUSY")
    assert one.task(task_uuid)["status"] in ("in_progress", "waiting_for_retry")
    one.http.delete(f"/v1/tasks/{task_uuid}")
    assert one.steps(task_uuid)["asks_for_time"]["status"] == "cancelled"


def test_retry_after_counts_in_place_of_the_backoff(one):
    task = one.run("asks_for_time", namespace="retries", context={"seconds": 0.7})

    first, second = one.attempts(task["task_uuid"], "asks_for_time")
    assert first["error"] == {
        "error_type": "retryable_error",
        "error_code": "BUSY",
        "message": "later",
        "retryable": True,
    }
    assert second["gap_s"] >= 0.7 * JITTER


def test_attempt_n_sees_n_minus_1_as_its_retry_count(one):
    last = one.run("fails", namespace="retries", context={"succeeds_in": 3})
    first = one.run("fails", namespace="retries", context={"succeeds_in": 1})

    assert one.steps(last["task_uuid"])["fails"]["result"] == {
        "retry_count": 2,
        "max_retries": 3,
        "is_retry": True,
        "is_last_retry": True,
    }
    assert one.steps(first["task_uuid"])["fails"]["result"] == {
        "retry_count": 0,
        "max_retries": 3,
        "is_retry": False,
        "is_last_retry": False,
    }


def test_max_attempts_counts_the_first_try(one):
    task = one.run("fails", namespace="retries", status="error")

    outcomes = [row["outcome"] for row in one.attempts(task["task_uuid"], "fails")]
    assert outcomes == ["waiting_for_retry", "waiting_for_retry", "error"]
    step = one.steps(task["task_uuid"])["fails"]
    assert (step["attempts"], step["max_attempts"]) == (3, 3)
    assert step["error"] == {
        "error_type": "handler_error",
        "error_code": None,
        "message": "failure 2",
        "retryable": True,
    }
    history = one.get(f"/v1/tasks/{task['task_uuid']}/workflow_steps/{step['step_uuid']}")["attempt_history"]
    assert [(entry["attempt"], entry["outcome"]) for entry in history] == [
        (1, "waiting_for_retry"),
        (2, "waiting_for_retry"),
        (3, "error"),
    ]


@pytest.mark.parametrize(
    ("template", "context", "error_type"),
    [
        ("permanent", {}, "permanent_error"),
        ("states", {"retryable": False}, "Stated"),
        ("not_retryable", {}, "handler_error"),
        ("nan", {}, "invalid_result"),
        ("large", {"characters": 2 * MAX_RESULT_BYTES}, "invalid_result"),
    ],
)
def test_what_another_attempt_cannot_change_is_not_tried_again(one, template, context, error_type):
    task = one.run(template, namespace="retries", context=context, status="error")

    (step,) = one.steps(task["task_uuid"]).values()
    assert step["error"]["error_type"] == error_type
    assert [row["outcome"] for row in one.attempts(task["task_uuid"], step["name"])] == ["error"]


def test_a_stated_failure_that_may_be_retried_is(one):
    task = one.run("states", namespace="retries", context={"retryable": True}, status="error")

    errors = [row["error"]["error_type"] for row in one.attempts(task["task_uuid"], "states")]
    assert errors == ["Stated"] * 3


def test_without_a_word_in_the_template_there_are_three_attempts_a_second_apart(one):
    task_uuid = one.create("defaults", namespace="retries", context={"succeeds_in": 2})
    one.wait(task_uuid, "complete")

    first, second = one.attempts(task_uuid, "fails")
    assert (first["outcome"], second["outcome"]) == ("waiting_for_retry", "complete")
    assert second["gap_s"] >= 1.0 * JITTER
    assert one.steps(task_uuid)["fails"]["result"]["max_retries"] == 3


def test_attempts_are_counted_with_their_error_type_and_whether_they_are_tried_again(one):
    failures = one.metrics()["tasker_steps_failures_total"]
    found = {
        (pairs["step_name"], pairs["error_type"], pairs["retryable"])
        for pairs in (dict(labels) for labels in failures)
        if pairs["namespace"] == "retries"
    }
    assert {("permanent", "permanent_error", "false"), ("fails", "handler_error", "true")} <= found
