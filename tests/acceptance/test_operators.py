"""Operators at work, with a real supervisor and the real commands: from a failed task to a finished one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

from tasker_actors.cli.app import execute

HANDLERS = """
from pathlib import Path
from threading import Event
from tasker_actors import PermanentError, step_handler

@step_handler("charge")
def charge(context):
    if not Path("repaired").exists():
        raise PermanentError("the bank is closed")
    return {"charged": "by the handler"}

@step_handler("notify")
def notify(context):
    return {"told": context.get_dependency_result("charge")}

@step_handler("stuck")
def stuck(context):
    if Path("repaired").exists():
        return {}
    while not context.cancelled:
        Event().wait(0.01)
    Path("heard").touch()
"""
WHY = ("--reason", "the bank opened")


@pytest.fixture
def project(tmp_path) -> Project:
    project = Project(tmp_path / "project")
    project.module("operated", HANDLERS)
    project.template("order", {"charge": {}, "notify": {"dependencies": ["charge"]}}, namespace="ops")
    project.template("slow", {"stuck": {}}, namespace="ops", lifecycle={"auto_fail_on_timeout": True})
    return project


@pytest.mark.timeout(300)
def test_operators_bring_failed_and_stuck_tasks_to_their_end(project: Project, embedded_server, capsys):
    quick = {"TASKER_DLQ__INTERVAL_MS": "100", "TASKER_MAINTENANCE__INTERVAL_MS": "100"}
    with embedded_server.database(migrated=True) as url, supervised(project, url, workers=1, variables=quick) as one:

        def command(*arguments: str) -> Any:
            code = execute([*arguments, "--url", one.url, "--json"])
            out, err = capsys.readouterr()
            assert code == 0, err
            return json.loads(out)

        def pending() -> dict[str, str]:
            found = one.get("/v1/dlq", resolution_status="pending")
            return {entry["task_uuid"]: entry["dlq_reason"] for entry in found}

        completed, reset = (one.run("order", namespace="ops", status="error")["task_uuid"] for _ in range(2))
        stuck = one.create("slow", namespace="ops")
        until(lambda: one.steps(stuck)["stuck"]["status"] == "in_progress")
        for long_ago in (
            "UPDATE tasker.tasks SET updated_at = updated_at - interval '1 h' WHERE task_uuid = %s RETURNING 1",
            "UPDATE tasker.steps SET updated_at = updated_at - interval '1 h' WHERE task_uuid = %s RETURNING 1",
            "UPDATE tasker.steps SET leased_at = leased_at - interval '1 h' WHERE task_uuid = %s RETURNING 1",
        ):
            one.rows(long_ago, stuck)

        # The leader finds all three, and ends the one that stands still; its handler hears of it.
        one.wait(stuck, "error")
        until(lambda: pending() == {completed: "max_retries_exceeded", reset: "max_retries_exceeded",
                                    stuck: "staleness_timeout"})  # fmt: skip
        until((project.directory / "heard").exists)
        assert {entry["task_uuid"] for entry in command("dlq", "list")} == {completed, reset, stuck}

        # A step that is completed by hand hands its result on.
        result = '{"charged": "by phone"}'
        command("task", "complete-step", completed, "charge", "--result", result, "--completed-by", "ann", *WHY)
        one.wait(completed, "complete")
        assert one.steps(completed)["notify"]["result"] == {"told": {"charged": "by phone"}}
        records = command("task", "audit", completed, "charge")
        assert [record["performed_by"] for record in records] == [None, "ann"]

        # What is repaired runs again, whatever failed.
        (project.directory / "repaired").touch()
        done = command("task", "reset", "--namespace", "ops", "--reset-by", "ann", *WHY)
        assert {task["task_uuid"] for task in done["tasks"]} == {reset, stuck}
        for task_uuid in (reset, stuck):
            one.wait(task_uuid, "complete")
        assert one.steps(reset)["notify"]["result"] == {"told": {"charged": "by the handler"}}
        until(lambda: pending() == {})
        assert {entry["resolution_status"] for entry in command("dlq", "list")} == {"manually_resolved"}
        assert sum(one.metrics()["tasker_tasks_completions_total"].values()) == 3
        assert one.stop() == 0
