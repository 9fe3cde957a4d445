"""What signals do to a running supervisor (SPEC 7), and what it tells systemd."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.project import Project
from support.supervised import is_running, supervised
from support.waiting import until

from tasker_actors.supervision.shutdown import AT_ONCE_S

HANDLERS = """
import os
import signal
import socket
import threading
from pathlib import Path
from tasker_actors import step_handler

def hold_the_main_thread(number, frame):
    "For ten times as long as systemd is told that all is well, and tells it when that begins and ends."
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.connect(os.environ["NOTIFY_SOCKET"])
        systemd.send(b"HELD=1")
        threading.Event().wait(1)
        systemd.send(b"HELD=0")

signal.signal(signal.SIGUSR2, hold_the_main_thread)

@step_handler("short")
def short(context):
    threading.Event().wait(0.02)
    return {"step": context.step_name}

@step_handler("gate")
def gate(context):
    marks = Path(context.get_input("marks"))
    marks.with_suffix(f".{context.retry_count}").touch()
    pause = threading.Event()
    while not marks.with_suffix(".open").exists():
        pause.wait(0.01)
    return {"attempt": context.retry_count + 1}
"""

ALL_DONE = "SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    found = Project(tmp_path_factory.mktemp("signals") / "project")
    found.module("signal_handlers", HANDLERS)
    names = ["one", "two", "three"]
    found.template(
        "chain",
        {
            name: {"handler": "short", "publishes_events": [{"name": f"step.{name}"}], "dependencies": names[:i][-1:]}
            for i, name in enumerate(names)
        },
        namespace="signals",
    )
    found.template("gate", {"gate": {"publishes_events": [{"name": "gate.passed"}]}}, namespace="signals")
    return found


@pytest.fixture(scope="module")
def one(project, embedded_server):
    with embedded_server.database(migrated=True) as url, supervised(project, url) as found:
        yield found


def open_tasks(one):
    return one.rows(ALL_DONE)[0]["n"]


def assert_each_step_once(one, tasks):
    """Every step of every chain is complete with one attempt and one message."""
    messages = [row["message"] for row in one.queue("signals_domain_events")]
    chain = [message for message in messages if message["event_name"].startswith("step.")]
    assert len(chain) == tasks * 3 == len({message["metadata"]["step_uuid"] for message in chain})
    assert one.rows(
        "SELECT s.state, s.attempts, count(*) FROM tasker.steps s JOIN tasker.tasks t USING (task_uuid)"
        " WHERE t.name = 'chain' GROUP BY 1, 2"
    ) == [{"state": "complete", "attempts": 1, "count": tasks * 3}]


def test_hup_replaces_the_workers_one_by_one_the_successor_first_and_costs_no_step(one):
    before = one.workers()
    one.create_many("chain", 60, namespace="signals")
    known = len(one.lines)

    one.signal(signal.SIGHUP)

    until(lambda: len(one.logged("Worker ended")) == 2, 60)
    # The order of the log is that of the events: never fewer workers than there should be, never two slots at once.
    turns = [(line["event"], line["slot"]) for line in one.lines[known:] if line.get("event", "").startswith("Worker ")]
    assert turns == [("Worker ready", 0), ("Worker ended", 0), ("Worker ready", 1), ("Worker ended", 1)]
    assert [line["exit_code"] for line in one.logged("Worker ended")] == [0, 0]
    one.wait_workers(lambda workers: {0, 1} == set(workers) and all(w["incarnation"] == 2 for w in workers.values()))
    assert not {w["pid"] for w in one.workers().values()} & {w["pid"] for w in before.values()}
    assert {(worker["last_reason"], worker["restarts"]) for worker in one.workers().values()} == {("hup", 1)}
    until(lambda: open_tasks(one) == 0)
    assert_each_step_once(one, 60)
    until(lambda: one.restarts() == {"hup": 2})
    assert {labels: alive for labels, alive in one.metrics()["tasker_workers_alive"].items() if alive != 1.0} == {}


def test_ttin_adds_a_worker_ttou_removes_it_and_hup_still_replaces_the_others(one):
    one.signal(signal.SIGTTIN)
    one.wait_workers(lambda workers: set(workers) == {0, 1, 2})
    assert len(one.metrics()["tasker_workers_alive"]) == 3

    one.signal(signal.SIGTTOU)
    until(lambda: set(one.workers()) == {0, 1})
    until(lambda: len(one.worker_pids()) == 2)
    until(lambda: {dict(labels)["worker"] for labels in one.metrics()["tasker_workers_alive"]} == {"0", "1"})

    before = {worker["pid"] for worker in one.workers().values()}
    one.signal(signal.SIGHUP)
    one.wait_workers(lambda workers: set(workers) == {0, 1} and not before & {w["pid"] for w in workers.values()})


def test_ttou_leaves_one_worker(one):
    for _ in range(3):
        one.signal(signal.SIGTTOU)
    until(lambda: len(one.workers()) == 1 and len(one.worker_pids()) == 1)

    one.signal(signal.SIGTTIN)
    one.wait_workers(lambda workers: len(workers) == 2)
    assert len(one.worker_pids()) == 2


def test_usr1_logs_state_and_stacks_of_every_process(one):
    one.wait_workers(lambda workers: len(workers) == 2)
    sentence = "Stacks of all threads"

    one.signal(signal.SIGUSR1)

    until(lambda: len(one.logged(sentence)) == 3)
    of_supervisor = next(line for line in one.logged(sentence) if "slots" in line)
    pids = one.worker_pids()
    assert {f"running, pid {pid}" for pid in pids} == set(of_supervisor["slots"].values())
    assert {line["pid"] for line in one.logged(sentence)} == {one.process.pid, *pids}
    of_worker = next(line for line in one.logged(sentence) if line.get("worker") == 0)
    assert any("step_executor" in name for name in of_worker["stacks"])
    assert any("router" in name for name in of_worker["stacks"])


def test_term_in_the_middle_is_0_and_a_second_start_finishes_the_rest(project, embedded_server):
    """Nothing is lost or done twice: what ran is committed, what had not begun is back in its queue."""
    with embedded_server.database(migrated=True) as url:
        with supervised(project, url, log="first.log") as first:
            first.create_many("chain", 300, namespace="signals")
            until(lambda: open_tasks(first) < 290)

            assert first.stop() == 0, first.last_words()

            assert open_tasks(first) > 0
            assert first.rows("SELECT count(*) AS n FROM tasker.steps WHERE state = 'in_progress'") == [{"n": 0}]
            assert first.rows("SELECT count(*) AS n FROM tasker.workers WHERE alive") == [{"n": 0}]
            assert first.logged("Worker ended", exit_code=0) == first.logged("Worker ended")
        with supervised(project, url, log="second.log") as second:
            until(lambda: open_tasks(second) == 0)
            assert_each_step_once(second, 300)


@contextmanager
def systemd(path: Path) -> Iterator[list[str]]:
    """A socket as systemd has it; gives what it hears, read at once: the kernel keeps ten messages and drops more."""
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))

        def listen() -> None:
            while message := listener.recv(4096):
                heard.extend(message.decode().splitlines())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", str(path))
            thread.join(10)


def test_int_drains_too_and_waits_for_what_runs_and_systemd_hears_of_it(project, embedded_server, tmp_path):
    marks, path = tmp_path / "marks", tmp_path / "notify"
    variables = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
    with (
        systemd(path) as heard,
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=1, variables=variables, log="int.log") as one,
    ):
        until(lambda: {"READY=1", "WATCHDOG=1"} <= {*heard})
        one.signal(signal.SIGHUP)
        until(lambda: heard.count("READY=1") == 2, 60)
        reload = heard[heard.index("RELOADING=1") :]
        assert reload[1].removeprefix("MONOTONIC_USEC=").isdigit()
        assert "READY=1" in reload
        assert one.restarts() == {"hup": 1}
        assert "STOPPING=1" not in heard
        # A main loop that does not go round says so by its silence, whatever other threads do.
        one.signal(signal.SIGUSR2)
        until(lambda: "HELD=0" in heard and heard[-1] == "WATCHDOG=1")
        assert heard[heard.index("HELD=1") : heard.index("HELD=0")] == ["HELD=1"]
        task_uuid = one.create("gate", namespace="signals", context={"marks": str(marks)})
        until(marks.with_suffix(".0").exists)

        one.signal(signal.SIGINT)
        until(lambda: "STOPPING=1" in heard)
        until(lambda: one.http.get("/health/ready").json()["failing"] == ["workers"])
        assert one.http.get("/health/live").status_code == 200
        marks.with_suffix(".open").touch()

        assert one.wait_ended() == 0
        assert [row["message"]["event_name"] for row in one.messages("signals", task_uuid)] == ["gate.passed"]
        assert one.rows("SELECT status FROM tasker.tasks") == [{"status": "complete"}]
    assert any(state.startswith("STATUS=1 workers") for state in heard)


def test_a_drained_worker_may_take_its_time_to_exit(tmp_path, embedded_server):
    """Users' modules do things at exit: close clients, write reports. One second is not enough for all of them."""
    project = Project(tmp_path / "project")
    project.module("slow_exit", "import atexit, threading\natexit.register(threading.Event().wait, 2)\n" + HANDLERS)
    project.template("short", {"short": {}}, namespace="signals")
    with embedded_server.database(migrated=True) as url, supervised(project, url, workers=1) as one:
        one.run("short", namespace="signals")

        assert one.stop() == 0, one.last_words()
        assert [line["exit_code"] for line in one.logged("Worker ended")] == [0]


def test_a_drain_past_its_deadline_is_5_and_the_step_is_back_in_its_queue_uncounted(project, embedded_server, tmp_path):
    marks = tmp_path / "marks"
    with embedded_server.database(migrated=True) as url:
        limit = {"TASKER_SUPERVISOR__DRAIN_TIMEOUT_MS": "300"}
        with supervised(project, url, workers=1, variables=limit, log="deadline.log") as one:
            task_uuid = one.create("gate", namespace="signals", context={"marks": str(marks)})
            until(marks.with_suffix(".0").exists)

            assert one.stop() == 5

            assert f"gate of task {task_uuid}" in one.last_words()
            step = one.rows("SELECT state, attempts, worker_id, token, suspect FROM tasker.steps")[0]
            assert step == {"state": "enqueued", "attempts": 0, "worker_id": None, "token": None, "suspect": False}
            assert one.attempts(task_uuid, "gate") == []
        marks.with_suffix(".open").touch()
        with supervised(project, url, workers=1, log="after_deadline.log") as one:
            one.wait(task_uuid, "complete")
            assert one.steps(task_uuid)["gate"]["result"] == {"attempt": 1}


def test_a_second_term_stops_at_once_whatever_hangs_and_gives_back_what_ran(embedded_server, tmp_path):
    """The drain may take a minute, an exit handler of users' code as long; the second signal allows neither."""
    project = Project(tmp_path / "project")
    project.module("never_exits", "import atexit, threading\natexit.register(threading.Event().wait, 60)\n" + HANDLERS)
    project.template("gate", {"gate": {}}, namespace="signals")
    marks = tmp_path / "marks"
    with embedded_server.database(migrated=True) as url:
        limit = {"TASKER_SUPERVISOR__DRAIN_TIMEOUT_MS": "60000"}
        with supervised(project, url, workers=1, variables=limit) as one:
            one.create("gate", namespace="signals", context={"marks": str(marks)})
            until(marks.with_suffix(".0").exists)
            one.signal(signal.SIGTERM)
            until(lambda: bool(one.logged("Draining")))
            pids = one.worker_pids()
            began = time.monotonic()

            one.signal(signal.SIGTERM)

            assert one.wait_ended() == 5
            # As much again for a busy machine: without the one deadline or the other it takes a minute.
            assert time.monotonic() - began < 2 * AT_ONCE_S
            assert not any(is_running(pid) for pid in pids)
            step = one.rows("SELECT state, worker_id FROM tasker.steps")[0]
            assert step["worker_id"] is None
            assert step["state"] in ("enqueued", "waiting_for_retry")
            assert one.rows("SELECT status FROM tasker.tasks WHERE completed_at IS NOT NULL") == []
