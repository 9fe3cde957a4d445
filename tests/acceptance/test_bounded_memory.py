"""No amount of work makes a process grow: what waits, waits in the database or falls out of a bounded buffer (G8)."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project
from support.supervised import Supervised, supervised
from support.waiting import until

MOST_MB = 150
STEPS_A_TASK = 20
TASKS = 1_000
CONCURRENCY, PREFETCH = 4, 256
EVENTS_A_STEP = 100
EVENTS = 50_000

HANDLERS = f"""
import threading
from tasker_actors import step_handler, subscriber

@step_handler("short")
def short(context):
    return {{}}

@step_handler("publish")
def publish(context):
    for number in range({EVENTS_A_STEP}):
        context.publish("soak.event", {{"number": number, "text": "t" * 2000}}, delivery="fast")

@subscriber("soak.event")
def slow(event):
    threading.Event().wait(0.002)
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, embedded_server) -> Iterator[Supervised]:
    project = Project(tmp_path_factory.mktemp("bounded") / "project")
    project.module("bounded_handlers", HANDLERS)
    steps = {f"step{number:02}": {"handler": "short"} for number in range(STEPS_A_TASK)}
    project.template("wide", steps, namespace="soak")
    project.template("publish", {"publish": {}}, namespace="soak")
    # The worker is stopped for as long as it takes to create the backlog.
    variables = {
        "TASKER_WORKER__HANG_TIMEOUT_MS": "400000",
        "TASKER_WORKER__LEASE_MS": "600000",
        "TASKER_WORKER__PREFETCH": str(PREFETCH),
        # A fifth of what they are by default: what the tracer of coverage needs has its place beside them.
        "TASKER_EVENT_BUS__BUFFER_SIZE": "200",
        "TASKER_EVENT_BUS__MAX_TRANSIT_BYTES": str(2 * 2**20),
    }
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=1, concurrency=CONCURRENCY, variables=variables) as found,
    ):
        yield found


def peak_mb(pid: int) -> float:
    """The most resident memory that a process has ever had, as the kernel noted it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def assert_bounded(one: Supervised, worker: int) -> None:
    """The worker is the one that it was, and neither it nor the supervisor ever had more than is promised."""
    assert one.worker_pids() == {worker}
    assert max(peak_mb(worker), peak_mb(one.process.pid)) < MOST_MB


def in_state(one: Supervised, *states: str) -> int:
    return int(one.rows("SELECT count(*) AS n FROM tasker.steps WHERE state = ANY (%s)", list(states))[0]["n"])


def test_a_backlog_of_20000_steps_stays_in_the_database(one):
    (worker,) = one.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        one.create_many("wide", TASKS, namespace="soak", context={"text": "t" * 1000})
        assert in_state(one, "enqueued") >= TASKS * STEPS_A_TASK - CONCURRENCY
        assert in_state(one, "complete") == 0
    finally:
        os.kill(worker, signal.SIGCONT)
    most_held = 0

    def is_done() -> bool:
        nonlocal most_held
        most_held = max(most_held, in_state(one, "in_progress"))
        return in_state(one, "complete") == TASKS * STEPS_A_TASK

    until(is_done, 100)
    # Twice, because a claim and a continuation may take the same free places.
    assert CONCURRENCY < most_held <= 2 * (CONCURRENCY + PREFETCH)
    assert_bounded(one, worker)


def test_50000_fast_events_to_a_slow_subscriber_stay_in_its_buffer_or_are_dropped(one):
    (worker,) = one.worker_pids()

    one.create_many("publish", EVENTS // EVENTS_A_STEP, namespace="soak")

    until(lambda: one.event_stats()["in_process_bus"]["total_events_dispatched"] == EVENTS, 100)
    assert one.event_stats()["in_process_bus"]["subscriber_drops"] > EVENTS / 2
    assert_bounded(one, worker)
