"""A worker that stops answering, or a handler that ends it, is replaced; what it held runs again (DESIGN G3)."""

from __future__ import annotations

import os
import signal

import pytest
from support.project import Project
from support.supervised import is_running, supervised
from support.waiting import until

HANDLERS = """
import ctypes, os, signal, sys, threading
from pathlib import Path
from tasker_actors import step_handler

@step_handler("once")
def once(context):
    "Does something terrible in the first attempts, and is done in the one after."
    terrible = context.get_input("terrible")
    if terrible and context.retry_count < context.get_input("times", 1):
        if terrible == "exit":
            os._exit(3)
        if terrible == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if terrible == "segv":
            ctypes.string_at(0)
        if terrible == "sys.exit":
            sys.exit(7)
        if terrible == "memory":
            raise MemoryError
        if terrible == "interrupt":
            raise KeyboardInterrupt
        if terrible == "gil":
            sum(range(10 ** 12))  # one call in C that never gives the interpreter away
    return {"attempt": context.retry_count + 1}

@step_handler("gate")
def gate(context):
    marks = Path(context.get_input("marks"))
    marks.with_suffix(f".{context.retry_count}").touch()
    pause = threading.Event()
    while not marks.with_suffix(".open").exists():
        pause.wait(0.01)
    return {"attempt": context.retry_count + 1}
"""

RETRY = {"max_attempts": 3, "backoff": "none"}


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("restart") / "project")
    project.module("restart_handlers", HANDLERS)
    project.template("once", {"once": {"retry": RETRY, "timeout_seconds": 60}}, namespace="restarts")
    project.template("gate", {"gate": {"retry": RETRY}}, namespace="restarts")
    variables = {"TASKER_WORKER__RESTART_LIMIT": "1000", "TASKER_WORKER__HANG_TIMEOUT_MS": "1500"}
    with embedded_server.database(migrated=True) as url, supervised(project, url, variables=variables) as found:
        yield found


def reasons(one):
    """Restarts so far by reason."""
    found: dict[str, float] = {}
    for labels, value in one.metrics().get("tasker_workers_restarts_total", {}).items():
        reason = dict(labels)["reason"]
        found[reason] = found.get(reason, 0) + value
    return found


@pytest.mark.parametrize(
    ("terrible", "message"),
    [("sys.exit", "sys.exit()"), ("memory", "out of memory"), ("interrupt", "KeyboardInterrupt")],
)
def test_what_would_end_a_thread_or_process_costs_that_attempt_and_no_worker(one, terrible, message):
    one.wait_workers(lambda workers: len(workers) == 2)
    before = one.worker_pids()

    task = one.run("once", namespace="restarts", context={"terrible": terrible})

    first, second = one.attempts(task["task_uuid"], "once")
    assert (first["outcome"], first["attempt"]) == ("waiting_for_retry", 1)
    assert first["error"]["error_type"] == "handler_error"
    assert message in first["error"]["message"]
    assert (second["outcome"], second["attempt"]) == ("complete", 2)
    assert one.worker_pids() == before


@pytest.mark.parametrize(("terrible", "reason"), [("exit", "exit"), ("kill", "signal"), ("segv", "signal")])
def test_a_handler_that_ends_its_process_costs_one_attempt_and_the_worker_is_replaced(one, terrible, reason):
    before = reasons(one).get(reason, 0)

    task = one.run("once", namespace="restarts", context={"terrible": terrible})

    outcomes = [(row["attempt"], row["outcome"]) for row in one.attempts(task["task_uuid"], "once")]
    assert outcomes == [(1, "waiting_for_retry"), (2, "complete")]
    assert one.attempts(task["task_uuid"], "once")[0]["error"]["error_type"] == "worker_lost"
    assert one.steps(task["task_uuid"])["once"]["result"] == {"attempt": 2}
    assert reasons(one)[reason] == before + 1
    one.wait_workers(lambda workers: len(workers) == 2)
    assert reason in {worker["last_reason"] for worker in one.workers().values()}


def test_a_handler_that_always_ends_its_process_fails_after_max_attempts(one):
    task = one.run("once", namespace="restarts", context={"terrible": "exit", "times": 99}, status="error")

    outcomes = [(row["attempt"], row["outcome"]) for row in one.attempts(task["task_uuid"], "once")]
    assert outcomes == [(1, "waiting_for_retry"), (2, "waiting_for_retry"), (3, "error")]
    assert one.steps(task["task_uuid"])["once"]["error"]["error_type"] == "worker_lost"


def gate_in_a_worker(one, marks):
    """Start a task whose handler waits, and return it with the worker that runs it."""
    one.wait_workers(lambda workers: len(workers) == 2)
    task_uuid = one.create("gate", namespace="restarts", context={"marks": str(marks)})
    until(marks.with_suffix(".0").exists)
    query = "SELECT slot, pid FROM tasker.steps JOIN tasker.workers USING (worker_id) WHERE task_uuid = %s"
    (row,) = one.rows(query, task_uuid)
    return task_uuid, row["slot"], row["pid"]


def test_a_stopped_worker_is_killed_after_the_hang_timeout_and_replaced(one, tmp_path):
    marks = tmp_path / "marks"
    task_uuid, slot, pid = gate_in_a_worker(one, marks)
    before = reasons(one).get("hang", 0)

    os.kill(pid, signal.SIGSTOP)

    until(marks.with_suffix(".1").exists, 20)
    marks.with_suffix(".open").touch()
    one.wait(task_uuid, "complete")
    assert not is_running(pid)
    until(lambda: reasons(one).get("hang", 0) == before + 1)
    one.wait_workers(lambda workers: slot in workers and workers[slot]["pid"] != pid)


def test_a_handler_that_never_gives_the_interpreter_away_is_killed_with_its_worker(one):
    before = reasons(one).get("hang", 0)

    task = one.run("once", namespace="restarts", context={"terrible": "gil"})

    outcomes = [(row["attempt"], row["outcome"]) for row in one.attempts(task["task_uuid"], "once")]
    assert outcomes == [(1, "waiting_for_retry"), (2, "complete")]
    assert reasons(one)["hang"] == before + 1
