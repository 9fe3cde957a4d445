"""Tasks run to their end on real workers: order, inputs, branches, cancel, environments."""

from __future__ import annotations

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

from tasker_actors.identifiers import new_uuid7

HANDLERS = """
import asyncio, threading
from pathlib import Path
from pydantic import BaseModel
from tasker_actors import PermanentError, StepHandler, depends_on, inputs, step_handler

@step_handler("validate")
@inputs("amount")
def validate(amount):
    if amount < 0:
        raise PermanentError("negative", error_code="NEGATIVE")
    return {"amount": amount}

@step_handler("double")
@depends_on(valid="validate")
async def double(valid):
    await asyncio.sleep(0)
    return {"amount": valid["amount"] * 2}

class Total(BaseModel):
    total: int

class Sum(StepHandler):
    handler_name = "sum"
    def call(self, context):
        results = context.dependency_results
        return Total(total=sum(one["amount"] for name, one in results.items() if name != "validate"))
    def other_method(self, context):
        return {"method": "other_method", "config": context.get_config("key")}

@step_handler("nothing")
def nothing():
    return None

@step_handler("facts")
def facts(context):
    names = ("task_uuid", "step_uuid", "step_name", "namespace", "correlation_id", "parent_correlation_id", "cancelled",
             "handler_name", "input_data", "dependency_results", "step_config", "retry_count", "max_retries")
    return {name: getattr(context, name) for name in names}

@step_handler("until_cancelled")
def until_cancelled(context):
    marks = Path(context.get_input("marks"))
    marks.with_suffix(".begun").touch()
    pause = threading.Event()
    while not context.cancelled:
        pause.wait(0.01)
    marks.with_suffix(".cancelled").touch()
    return {"late": True}
"""

DIAMOND = {
    "validate": {},
    "left": {"handler": "double", "dependencies": ["validate"]},
    "right": {"handler": "double", "dependencies": ["validate"]},
    "sum": {"dependencies": ["left", "right"]},
}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("project") / "run")
    project.module("run_handlers", HANDLERS)
    project.template("diamond", DIAMOND, namespace="basics")
    project.template(
        "branches",
        {
            "root": {"handler": "nothing"},
            "fails": {"handler": "validate", "dependencies": ["root"]},
            "below": {"handler": "nothing", "dependencies": ["fails"]},
            "further_below": {"handler": "nothing", "dependencies": ["below", "other"]},
            "other": {"handler": "nothing", "dependencies": ["root"]},
            "after_other": {"handler": "nothing", "dependencies": ["other"]},
        },
        namespace="basics",
    )
    project.template(
        "facts", {"first": {"handler": "nothing"}, "facts": {"dependencies": ["first"]}}, namespace="basics"
    )
    project.template(
        "methods",
        {"one": {"handler": {"callable": "sum", "method": "other_method", "initialization": {"key": "value"}}}},
        namespace="basics",
    )
    project.template(
        "cancelled",
        {"long": {"handler": "until_cancelled"}, "after": {"handler": "nothing", "dependencies": ["long"]}},
        namespace="basics",
    )
    project.template("choice", {"decide": {"handler": "nothing", "type": "decision"}}, namespace="basics")
    project.template(
        "overridden",
        {"one": {"handler": "facts", "retry": {"max_attempts": 2, "backoff": "none"}}},
        namespace="basics",
        environments={
            "test": {"steps": [{"name": "one", "retry": {"max_attempts": 7}}]},
            "production": {"steps": [{"name": "ALL", "retry": {"max_attempts": 9}}]},
        },
    )
    with embedded_server.database(migrated=True) as url, supervised(project, url) as found:
        yield found


def test_a_diamond_runs_each_step_after_all_that_it_depends_on(one):
    task = one.run("diamond", namespace="basics", context={"amount": 4})

    steps = one.steps(task["task_uuid"])
    assert steps["sum"]["result"] == {"total": 16}
    assert {step["status"] for step in steps.values()} == {"complete"}
    assert task["completion_percentage"] == 100
    ended = {name: one.attempts(task["task_uuid"], name)[0]["finished_at"] for name in steps}
    assert ended["validate"] < min(ended["left"], ended["right"])
    assert max(ended["left"], ended["right"]) < ended["sum"]


def test_many_tasks_at_once_are_all_completed_with_one_attempt_a_step(one):
    correlation_id = new_uuid7()
    batch = [
        {"name": "diamond", "namespace": "basics", "context": {"amount": number}, "correlation_id": correlation_id}
        for number in range(100)
    ]
    made = one.http.post("/v1/tasks/batch", json={"tasks": batch}).json()["tasks"]

    query = "SELECT count(*) AS n FROM tasker.tasks WHERE correlation_id = %s AND status = 'complete'"
    until(lambda: one.rows(query, correlation_id)[0]["n"] == 100, 60)

    uuids = [task["task_uuid"] for task in made]
    results = "SELECT result ->> 'total' AS total FROM tasker.steps WHERE name = 'sum' AND task_uuid = ANY (%s)"
    counts = one.rows(
        "SELECT count(*) AS attempts, count(DISTINCT (task_uuid, position)) AS steps FROM tasker.step_attempts"
        " WHERE task_uuid = ANY (%s)",
        uuids,
    )[0]
    assert counts == {"attempts": 400, "steps": 400}
    assert sorted(int(row["total"]) for row in one.rows(results, uuids)) == [number * 4 for number in range(100)]


def test_a_permanent_failure_blocks_its_descendants_only_and_other_branches_run_on(one):
    task = one.run("branches", namespace="basics", context={"amount": -1}, status="error")

    steps = one.steps(task["task_uuid"])
    assert {name: step["status"] for name, step in steps.items()} == {
        "root": "complete",
        "fails": "error",
        "below": "pending",
        "further_below": "pending",
        "other": "complete",
        "after_other": "complete",
    }
    assert task["execution_status"] == "blocked_by_failures"
    assert task["failed_steps"] == 1
    assert {key: steps["fails"]["error"][key] for key in ("error_type", "error_code", "retryable")} == {
        "error_type": "permanent_error",
        "error_code": "NEGATIVE",
        "retryable": False,
    }
    assert len(one.attempts(task["task_uuid"], "fails")) == 1
    assert [steps[name]["blocked"] for name in ("below", "further_below", "after_other")] == [True, True, False]


def test_a_handler_sees_its_task_and_what_ran_before_it(one):
    correlation_id, parent = new_uuid7(), new_uuid7()
    task = one.run(
        "facts",
        namespace="basics",
        context={"a": [1, None]},
        correlation_id=correlation_id,
        parent_correlation_id=parent,
    )

    step = one.steps(task["task_uuid"])["facts"]
    assert step["result"] == {
        "task_uuid": task["task_uuid"],
        "step_uuid": step["step_uuid"],
        "step_name": "facts",
        "namespace": "basics",
        "correlation_id": correlation_id,
        "parent_correlation_id": parent,
        "handler_name": "facts",
        "input_data": {"a": [1, None]},
        "dependency_results": {"first": {}},
        "step_config": {},
        "retry_count": 0,
        "max_retries": 3,
        "cancelled": False,
    }


def test_a_template_can_name_another_method_of_a_handler_and_configure_it(one):
    task = one.run("methods", namespace="basics")

    assert one.steps(task["task_uuid"])["one"]["result"] == {"method": "other_method", "config": "value"}


def test_a_cancelled_task_tells_its_running_handler_and_its_later_result_does_not_count(one, tmp_path):
    marks = tmp_path / "marks"
    task_uuid = one.create("cancelled", namespace="basics", context={"marks": str(marks)})
    until(marks.with_suffix(".begun").exists)

    answer = one.http.delete(f"/v1/tasks/{task_uuid}")

    assert answer.status_code == 200
    until(marks.with_suffix(".cancelled").exists)
    lost = "results came after their leases had ended"
    until(lambda: bool(one.logged(lost)))
    assert {step["status"] for step in one.steps(task_uuid).values()} == {"cancelled"}
    assert one.task(task_uuid)["status"] == "cancelled"
    assert one.attempts(task_uuid, "long") == []
    assert one.http.delete(f"/v1/tasks/{task_uuid}").status_code == 200


def test_a_finished_task_cannot_be_cancelled(one):
    task = one.run("facts", namespace="basics")

    answer = one.http.delete(f"/v1/tasks/{task['task_uuid']}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "task_finished")


def test_the_overrides_of_the_environment_count_and_those_of_others_do_not(one):
    task = one.run("overridden", namespace="basics")

    assert one.steps(task["task_uuid"])["one"]["result"]["max_retries"] == 7


def test_a_decision_that_does_not_decide_says_so_and_is_not_tried_again(one):
    task = one.run("choice", namespace="basics", status="error")

    step = one.steps(task["task_uuid"])["decide"]
    assert step["error"]["error_type"] == "invalid_decision"
    assert "decision_point_outcome: is missing" in step["error"]["message"]
    assert len(one.attempts(task["task_uuid"], "decide")) == 1
