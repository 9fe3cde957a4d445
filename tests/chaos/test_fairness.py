"""What a worker holds must not hurt others: no step waits behind busy executors, no killer ends the supervisor."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

HANDLERS = """
import os, signal, threading
from pathlib import Path
from tasker_actors import step_handler

@step_handler("short")
def short():
    threading.Event().wait(0.02)

@step_handler("long")
def long(context):
    Path(context.get_input("mark")).touch()
    while not Path(context.get_input("end")).exists():
        threading.Event().wait(0.01)

@step_handler("poison")
def poison(context):
    if context.get_input("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait(0.03)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.module("project_handlers", HANDLERS)
    project.template("short", {"short": {}}, namespace="fair")
    project.template("long", {"long": {}}, namespace="fair")
    project.template("pill", {"poison": {"retry": {"backoff_base_ms": 100}}}, namespace="fair")
    return project


def test_long_steps_that_one_worker_fetched_ahead_run_on_the_other(project: Project, tmp_path: Path, embedded_server):
    """After many short steps a worker fetches ahead; eight long ones must still use all eight places."""
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=2, concurrency=4) as one,
    ):
        one.create_many("short", 200, namespace="fair")
        until(lambda: not one.rows("SELECT FROM tasker.tasks WHERE completed_at IS NULL"), 60)
        end = tmp_path / "end"
        contexts = [{"mark": str(tmp_path / f"mark{number}"), "end": str(end)} for number in range(8)]
        tasks = [{"name": "long", "namespace": "fair", "context": context} for context in contexts]
        one.http.post("/v1/tasks/batch", json={"tasks": tasks}).raise_for_status()

        until(lambda: len(list(tmp_path.glob("mark*"))) == 8, 25)
        end.touch()
        until(lambda: not one.rows("SELECT FROM tasker.tasks WHERE completed_at IS NULL"), 60)


def test_one_step_that_kills_under_load_costs_no_more_than_its_attempts(project: Project, embedded_server):
    """With the default three attempts and the default restart limit the supervisor goes on."""
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=2, concurrency=4) as one,
    ):
        one.create_many("pill", 60, namespace="fair")
        one.create("pill", namespace="fair", context={"poison": True})
        stop = threading.Event()

        def load() -> None:
            while not stop.wait(0.3):
                one.create_many("pill", 30, namespace="fair")

        loader = threading.Thread(target=load)
        loader.start()
        try:
            until(lambda: bool(one.rows("SELECT FROM tasker.steps WHERE state = 'error'")), 60)
        finally:
            stop.set()
            loader.join()
        until(lambda: not one.rows("SELECT FROM tasker.tasks WHERE completed_at IS NULL"), 60)

        assert one.process.poll() is None
        assert one.rows("SELECT count(*) AS n, max(attempts) AS most FROM tasker.steps WHERE state = 'error'") == [
            {"n": 1, "most": 3}
        ]
