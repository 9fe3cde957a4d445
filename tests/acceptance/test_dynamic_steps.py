"""Decisions, batches and checkpoints on real workers, one of which is killed in the middle of a slice."""

from __future__ import annotations

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

HANDLERS = """
import os, signal, threading
from pathlib import Path
from tasker_actors import PermanentError, StepHandlerResult, depends_on, inputs, step_handler

SLICE = 10

@step_handler("route")
@inputs("items")
def route(items):
    named = ["analyze"] if items else []
    return {"decision_point_outcome": {"type": "create_steps", "step_names": named} if named
            else {"type": "no_branches", "reason": "there are no items"}}

@step_handler("analyze")
@inputs("items", "parts")
def analyze(items, parts):
    size = items // parts
    return {"batch_processing_outcome": {
        "type": "create_batches", "worker_template_name": "work", "worker_count": parts, "total_items": items,
        "cursor_configs": [
            {"batch_id": f"{n + 1:03d}", "start_cursor": n * size, "end_cursor": (n + 1) * size, "batch_size": size}
            for n in range(parts)]}}

@step_handler("work")
def work(context):
    cursor = context.step_inputs["cursor"]
    known = context.checkpoint or {"cursor": cursor["start_cursor"], "items_processed": 0, "accumulated_results": 0}
    start, end = known["cursor"], min(known["cursor"] + SLICE, cursor["end_cursor"])
    mark = Path(context.get_input("marks"), "killed")
    if context.step_name == "work_002" and context.checkpoint and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    total = known["accumulated_results"] + sum(range(start, end))
    with Path(context.get_input("marks"), f"{context.step_name}.slices").open("a") as slices:
        slices.write(f"{start}-{end}\\n")
    if end < cursor["end_cursor"]:
        return StepHandlerResult.success(
            {"type": "checkpoint_yield", "cursor": end, "items_processed": known["items_processed"] + end - start,
             "accumulated_results": total}, metadata={"checkpoint_yield": True})
    history = (context.checkpoint or {"history": []})["history"]
    return {"total": total, "retries": context.retry_count, "history": len(history)}

@step_handler("sum")
def sum_up(context):
    results = {name: result for name, result in context.dependency_results.items() if name.startswith("work_")}
    return {"total": sum(one["total"] for one in results.values()), "parts": len(results)}

@step_handler("choose")
@inputs("named")
def choose(named):
    return {"decision_point_outcome": {"type": "create_steps", "step_names": named}}

@step_handler("remember")
@inputs("size")
def remember(size):
    return StepHandlerResult.success(
        {"type": "checkpoint_yield", "cursor": 1, "items_processed": 1, "accumulated_results": {"text": "x" * size}},
        metadata={"checkpoint_yield": True})

@step_handler("fails_fast")
def fails_fast(context):
    marks, pause = Path(context.get_input("marks")), threading.Event()
    (marks / f"{context.step_name}.begun").touch()
    while not context.cancelled:
        if context.step_name == "work_001" and (marks / "work_002.begun").exists():
            raise PermanentError("the first of them fails")
        pause.wait(0.01)
    (marks / f"{context.step_name}.cancelled").touch()
    return {"late": True}
"""


def batch(handler, strategy):
    return {
        "analyze": {"type": "batchable"},
        "work": {
            "handler": handler,
            "type": "batch_worker",
            "dependencies": ["analyze"],
            "retry": {"backoff": "none"},
            "batch_config": {"worker_template": "work", "failure_strategy": strategy},
        },
        "sum": {"type": "deferred_convergence", "dependencies": ["work"]},
    }


OPTION = {"handler": "choose", "dependencies": ["choose"]}
LIMITS = {
    "TASKER_DECISIONS__MAX_STEPS": "1",
    "TASKER_BATCHES__MAX_WORKERS": "3",
    "TASKER_BATCHES__MAX_CHECKPOINT_BYTES": "2000",
    "TASKER_BATCHES__MAX_CHECKPOINT_HISTORY": "2",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("dynamic") / "project")
    project.module("dynamic_handlers", HANDLERS)
    steps = batch("work", "continue_on_failure")
    steps["analyze"]["dependencies"] = ["route"]
    project.template("sums", {"route": {"type": "decision"}, **steps}, namespace="dynamic")
    project.template("fast", batch("fails_fast", "fail_fast"), namespace="dynamic")
    project.template(
        "choice", {"choose": {"type": "decision"}, **dict.fromkeys(("a", "b"), OPTION)}, namespace="dynamic"
    )
    project.template("notes", {"remember": {}}, namespace="dynamic")
    # A worker holds no more than it runs, so that instances of one batch are in different processes.
    variables = {"TASKER_WORKER__PREFETCH": "0", **LIMITS}
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=2, concurrency=1, variables=variables) as found,
    ):
        yield found


def test_a_batch_survives_the_death_of_a_worker_and_goes_on_from_the_checkpoint(one, tmp_path):
    task = one.run("sums", namespace="dynamic", context={"items": 120, "parts": 3, "marks": str(tmp_path)})

    steps = one.steps(task["task_uuid"])
    assert set(steps) == {"route", "analyze", "work_001", "work_002", "work_003", "sum"}
    assert steps["sum"]["result"] == {"total": sum(range(120)), "parts": 3}
    assert task["total_steps"] == task["completed_steps"] == 6
    assert (tmp_path / "killed").exists()
    # The worker died after the first of four slices was committed: that one did not run again.
    assert (tmp_path / "work_002.slices").read_text().split() == ["40-50", "50-60", "60-70", "70-80"]
    assert [steps[f"work_00{n}"]["result"]["retries"] for n in (1, 2, 3)] == [0, 1, 0]
    assert steps["work_002"]["result"]["history"] == 2, "batches.max_checkpoint_history is 2, and there were 3"
    outcomes = [attempt["outcome"] for attempt in one.attempts(task["task_uuid"], "work_002")]
    assert outcomes == ["waiting_for_retry", "complete"]


def test_a_decision_without_branches_ends_the_task(one, tmp_path):
    task = one.run("sums", namespace="dynamic", context={"items": 0, "parts": 3, "marks": str(tmp_path)})

    assert list(one.steps(task["task_uuid"])) == ["route"]


def test_instances_in_other_processes_hear_that_their_batch_has_failed(one, tmp_path):
    task = one.run(
        "fast", namespace="dynamic", context={"items": 20, "parts": 2, "marks": str(tmp_path)}, status="error"
    )

    until((tmp_path / "work_002.cancelled").exists, 60)
    steps = one.steps(task["task_uuid"])
    assert {name: step["status"] for name, step in steps.items()} == {
        "analyze": "complete",
        "work_001": "error",
        "work_002": "cancelled",
        "sum": "pending",
    }
    assert steps["sum"]["blocked"]


@pytest.mark.parametrize(
    ("template", "context", "step", "error"),
    [
        ("choice", {"named": ["a", "b"]}, "choose", "names 2 steps; decisions.max_steps is 1"),
        ("sums", {"items": 40, "parts": 4}, "analyze", "is 4; batches.max_workers is 3"),
        ("notes", {"size": 2_000}, "remember", "at most 2000 are allowed (batches.max_checkpoint_bytes)"),
    ],
)
def test_workers_keep_the_limits_of_the_settings(one, template, context, step, error):
    task = one.run(template, namespace="dynamic", context=context, status="error")

    assert error in one.steps(task["task_uuid"])[step]["error"]["message"]
