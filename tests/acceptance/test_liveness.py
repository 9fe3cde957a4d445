"""A worker that makes no progress is replaced, one that is only slow is left alone (DESIGN 3 rule 9, G3)."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.project import Project
from support.supervised import supervised
from support.waiting import until

HANG_S = 1.5

HANDLERS = '''
import asyncio, ctypes, threading
from pathlib import Path
from tasker_actors import step_handler

def forever(*arguments):
    threading.Event().wait()

def look(context):
    """Break a part of this worker, once for each part."""
    from tasker_actors.delivery.bus import InProcessEventBus
    from tasker_actors.delivery.durable_publisher import DurablePublisher
    from tasker_actors.delivery.router import EventRouter
    from tasker_actors.steps.executor import StepExecutor
    from tasker_actors.steps.ledger import Ledger
    from tasker_actors.steps.source import StepSource
    part = context.get_input("part")
    broken = Path(part + ".broken")
    if broken.exists():
        return
    broken.touch()
    if part == "step_source":
        StepSource._claim = forever
    elif part == "step_executor":
        StepExecutor._conclude = forever
    elif part == "event_router":
        EventRouter._commit = forever
    elif part == "durable_publisher":
        DurablePublisher._send = forever
    elif part == "event_bus":
        InProcessEventBus.receive = forever
    elif part == "commit":
        EventRouter._commit = lambda self, tokens: self._ledger.committing(tokens)  # and tells nobody

@step_handler("break")
def break_something(context):
    look(context)
    return {}

@step_handler("hold")
def hold(context):
    "Holds the interpreter: PyDLL does not let it go."
    if context.get_input("always") or not context.is_retry():
        ctypes.PyDLL(None).usleep(int(context.get_input("seconds") * 1e6))
    return {"attempt": context.retry_count + 1}

@step_handler("until_cancelled")
def until_cancelled(context):
    Path(context.task_uuid).touch()
    while not context.cancelled:
        threading.Event().wait(0.01)
    Path(context.task_uuid + ".cancelled").touch()

@step_handler("async_until_cancelled")
async def async_until_cancelled(context):
    Path(context.task_uuid).touch()
    while not context.cancelled:
        await asyncio.sleep(0.01)
    Path(context.task_uuid + ".cancelled").touch()

@step_handler("long")
def long(context):
    Path(context.task_uuid).touch()
    threading.Event().wait(context.get_input("seconds"))
    return {"attempt": context.retry_count + 1}
'''

RETRY = {"max_attempts": 3, "backoff": "none"}
EVENT = [{"name": "liveness.passed", "delivery_mode": "broadcast"}]


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    project = Project(tmp_path_factory.mktemp("liveness") / "project")
    project.module("liveness_handlers", HANDLERS)
    project.template("break", {"break": {"retry": RETRY, "publishes_events": EVENT}}, namespace="live")
    for name, limit in (("hold", 30.0), ("long", 30.0)):
        project.template(name, {name: {"retry": RETRY, "timeout_seconds": limit}}, namespace="live")
    for name in ("until_cancelled", "async_until_cancelled"):
        project.template(name, {name: {"timeout_seconds": 120}}, namespace="live")
    project.template("hold_past", {"hold": {"retry": RETRY, "timeout_seconds": 0.5}}, namespace="live")
    variables = {
        "TASKER_WORKER__HANG_TIMEOUT_MS": str(int(HANG_S * 1000)),
        "TASKER_WORKER__LEASE_MS": "600000",  # so long that no extension tells what this tests
        "TASKER_WORKER__RESTART_LIMIT": "1000",
    }
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=1, variables=variables) as found,
    ):
        yield found


def hangs(one):
    return [line["because"] for line in one.logged("Worker hangs and is killed")]


@pytest.mark.parametrize(
    "part", ["step_source", "step_executor", "event_router", "durable_publisher", "event_bus", "commit"]
)
def test_a_worker_is_replaced_when_one_part_of_its_flow_makes_no_progress(one, part):
    before = len(hangs(one))

    task_uuid = one.create("break", namespace="live", context={"part": part})
    until(lambda: len(hangs(one)) > before, 30)
    # What stood still had work: the step that came next at the latest.
    one.wait(one.create("break", namespace="live", context={"part": part}), "complete")
    one.wait(task_uuid, "complete")

    (because,) = hangs(one)[before:]
    assert f"its {part}" in because
    until(lambda: sum(one.restarts().values()) == before + 1)
    assert set(one.restarts()) == {"hang"}
    assert one.logged("A part of this worker makes no progress")[-1]["actor"].startswith(part)
    assert len(one.messages("live", task_uuid)) == 1


def test_a_worker_that_gets_one_short_step_after_the_other_makes_progress(one):
    """At each look its source may have got a message this moment, and have been idle before."""
    before = (hangs(one), one.logged("A part of this worker makes no progress"))
    end = time.monotonic() + 6 * HANG_S

    while time.monotonic() < end:
        one.run("long", namespace="live", context={"seconds": 0})

    assert (hangs(one), one.logged("A part of this worker makes no progress")) == before


def test_handlers_within_their_limits_are_left_alone_though_they_take_longer_than_the_hang_timeout(one):
    before = hangs(one)
    long = one.create("long", namespace="live", context={"seconds": 2 * HANG_S})
    until((one.log.parent / long).exists)

    hold = one.run("hold", namespace="live", context={"seconds": 2 * HANG_S, "always": True})["task_uuid"]

    one.wait(long, "complete")
    assert one.steps(long)["long"]["result"] == one.steps(hold)["hold"]["result"] == {"attempt": 1}
    assert hangs(one) == before


def test_a_handler_that_holds_the_interpreter_past_its_limit_costs_its_worker(one):
    before = len(hangs(one))

    task = one.run("hold_past", namespace="live", context={"seconds": 60})

    assert one.steps(task["task_uuid"])["hold"]["result"] == {"attempt": 2}
    assert [row["error"]["error_type"] for row in one.attempts(task["task_uuid"], "hold") if row["error"]] == [
        "worker_lost"
    ]
    assert "main thread" in hangs(one)[before]


def test_a_stopped_worker_is_replaced_though_its_handler_has_time_left(one):
    before = len(hangs(one))
    task_uuid = one.create("long", namespace="live", context={"seconds": 1})
    until((one.log.parent / task_uuid).exists)
    (pid,) = one.worker_pids()

    os.kill(pid, signal.SIGSTOP)

    until(lambda: len(hangs(one)) > before, 20)
    one.wait(task_uuid, "complete")


def test_waiting_for_the_database_is_progress(one):
    """The server's processes that answer this worker are stopped; the worker waits for them with work in hand."""
    before = hangs(one)
    one.run("long", namespace="live", context={"seconds": 0})  # so that both sessions are there
    found = one.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tasker worker %'")
    backends = [row["pid"] for row in found]
    assert len(backends) == 2
    try:
        for backend in backends:
            os.kill(backend, signal.SIGSTOP)
        task_uuid = one.create("long", namespace="live", context={"seconds": 0})
        end = time.monotonic() + 2 * HANG_S
        until(lambda: time.monotonic() > end)
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)

    one.wait(task_uuid, "complete")
    assert hangs(one) == before


def test_a_supervisor_that_was_stopped_itself_does_not_take_its_workers_for_hung(one):
    before = hangs(one)
    one.signal(signal.SIGSTOP)
    end = time.monotonic() + 2 * HANG_S
    until(lambda: time.monotonic() > end)
    one.signal(signal.SIGCONT)

    one.run("long", namespace="live", context={"seconds": 0})
    assert hangs(one) == before


@pytest.mark.parametrize("name", ["until_cancelled", "async_until_cancelled"])
def test_a_cancel_reaches_a_running_handler(one, name):
    task_uuid = one.create(name, namespace="live")
    until((one.log.parent / task_uuid).exists)

    assert one.http.delete(f"/v1/tasks/{task_uuid}").status_code == 200

    # It is pushed: nothing else would tell for minutes. The benchmark of cancels measures how soon it comes.
    until((one.log.parent / f"{task_uuid}.cancelled").exists, 10)
    assert {step["status"] for step in one.steps(task_uuid).values()} == {"cancelled"}
