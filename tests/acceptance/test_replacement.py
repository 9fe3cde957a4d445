"""A worker is replaced by a successor that is ready first, whatever happens meanwhile (DESIGN G6)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.project import Project
from support.supervised import Supervised, is_running, kill, supervised
from support.waiting import until

HANDLERS = """
import sys, threading
from pathlib import Path
from tasker_actors import step_handler

HERE = Path(__file__).parent
if "supervision.worker" in " ".join(sys.orig_argv):
    (HERE / "booting").touch()
    pause = threading.Event()
    while (HERE / "closed").exists():
        pause.wait(0.01)
    if (HERE / "broken").exists():
        raise RuntimeError("no licence")

HOARD = []

@step_handler("short")
def short(context):
    HOARD.append(bytearray(context.get_input("hoard", 0)))
    return {}
"""

SHORT = {"namespace": "replacing"}


@contextmanager
def running(tmp_path, database_url, **variables: str) -> Iterator[tuple[Project, Supervised]]:
    project = Project(tmp_path / "project")
    project.module("replaced_handlers", HANDLERS)
    project.template("short", {"short": {"publishes_events": [{"name": "short.done"}]}}, **SHORT)
    # A machine that is busy with other tests must not look like a worker that hangs.
    variables = {"TASKER_WORKER__HANG_TIMEOUT_MS": "60000", "TASKER_WORKER__LEASE_MS": "60000", **variables}
    with supervised(project, database_url, variables=variables) as one:
        yield project, one


def turns(one: Supervised) -> list[tuple[str, int]]:
    """Which slot's worker became ready or ended, in order."""
    words = {"Worker ready": "ready", "Worker ended": "ended"}
    return [(words[line["event"]], line["slot"]) for line in one.lines if line.get("event") in words]


@pytest.fixture
def one(tmp_path, database_url):
    with running(tmp_path, database_url) as (project, found):
        (project.directory / "booting").unlink()
        yield project, found


@contextmanager
def successor_held_up(project: Project, one: Supervised) -> Iterator[None]:
    """Replace the workers; inside of the block the successor of the first one boots and does not become ready."""
    (project.directory / "closed").touch()
    one.signal(signal.SIGHUP)
    until((project.directory / "booting").exists)
    try:
        yield
    finally:
        (project.directory / "closed").unlink()


def test_the_old_worker_works_until_its_successor_is_ready_and_no_publication_is_refused(one):
    project, supervisor = one
    before = supervisor.worker_pids()
    stop = threading.Event()
    answers: list[int] = []
    event = {"name": "outside.event", "namespace": "replacing", "payload": {}}

    def publish() -> None:
        while not stop.is_set():
            answers.append(supervisor.http.post("/v1/events", json=event).status_code)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        with successor_held_up(project, supervisor):
            assert len(supervisor.worker_pids()) == 3
            assert before < supervisor.worker_pids()
            for _ in range(4):
                supervisor.run("short", **SHORT)
            assert turns(supervisor)[2:] == []
            # Asked for again: what boots now may have read what was there before.
            supervisor.signal(signal.SIGHUP)
            until(lambda: len(supervisor.logged("Signal received", signal="SIGHUP")) == 2)
        until(lambda: len(supervisor.logged("Worker ended")) == 3, 60)
    finally:
        stop.set()
        publisher.join(60)

    assert [slot for turn, slot in turns(supervisor)[2:]] == [0, 0, 0, 0, 1, 1]
    assert [turn for turn, _ in turns(supervisor)[2:]] == ["ready", "ended"] * 3
    supervisor.wait_workers(lambda workers: {s: w["incarnation"] for s, w in workers.items()} == {0: 3, 1: 2})
    assert set(answers) == {202}
    assert len(supervisor.queue("replacing_domain_events")) == len(answers) + 4


def test_where_successors_cannot_boot_the_old_workers_go_on_until_they_can(one):
    project, supervisor = one
    before = supervisor.worker_pids()
    (project.directory / "broken").touch()

    supervisor.signal(signal.SIGHUP)

    until(lambda: bool(supervisor.logged("A replacement did not become ready; the workers stay as they are")), 60)
    (failed,) = supervisor.logged("A replacement did not become ready; the workers stay as they are")
    assert failed["slots"] == [0, 1]
    assert "no licence" in supervisor.logged("Worker cannot start")[0]["error"]
    assert supervisor.worker_pids() == before
    supervisor.run("short", **SHORT)
    assert supervisor.restarts() == {}

    (project.directory / "broken").unlink()
    supervisor.signal(signal.SIGHUP)
    until(lambda: supervisor.restarts() == {"hup": 2}, 60)
    assert not before & supervisor.worker_pids()


def test_a_worker_that_dies_while_its_successor_boots_is_followed_by_that_one(one):
    project, supervisor = one
    first = supervisor.workers()[0]["pid"]

    with successor_held_up(project, supervisor):
        kill(first)
        until(lambda: ("ended", 0) in turns(supervisor))
        until(lambda: supervisor.restarts() == {"signal": 1})
        assert len(supervisor.worker_pids()) == 2
        supervisor.run("short", **SHORT)

    until(lambda: supervisor.restarts() == {"signal": 1, "hup": 1}, 60)
    assert turns(supervisor)[2:] == [("ended", 0), ("ready", 0), ("ready", 1), ("ended", 1)]
    supervisor.wait_workers(lambda workers: {w["incarnation"] for w in workers.values()} == {2})


def test_a_stop_while_a_successor_boots_ends_all_three(one):
    project, supervisor = one
    with successor_held_up(project, supervisor):
        pids = supervisor.worker_pids()
        assert len(pids) == 3

        assert supervisor.stop() == 0, supervisor.last_words()

        assert not any(is_running(pid) for pid in pids)
        assert supervisor.rows("SELECT count(*) AS n FROM tasker.workers WHERE alive") == [{"n": 0}]


def wait_recycled(one: Supervised, reason: str, work: Callable[[], object]) -> None:
    """Work until each slot's worker was replaced for this reason."""

    def recycled() -> bool:
        work()
        counts = one.metrics()["tasker_workers_restarts_total"]
        return all(counts[frozenset({("worker", slot), ("reason", reason)})] >= 1 for slot in ("0", "1"))

    until(recycled, 100)


def assert_one_after_the_other(one: Supervised) -> None:
    """Each worker that ended had a successor, and was gone before the next one's turn."""
    found = turns(one)[2:]
    pairs = list(zip(found[::2], found[1::2], strict=False))
    assert pairs
    assert all(pair == (("ready", pair[0][1]), ("ended", pair[0][1])) for pair in pairs), one.last_words()


@pytest.mark.timeout(240)  # eight processes are started one after the other
def test_workers_are_recycled_by_the_steps_that_they_have_done_and_by_their_memory(tmp_path, database_url):
    limits = {"TASKER_WORKER__RECYCLE_STEPS": "60", "TASKER_WORKER__RECYCLE_MEMORY_BYTES": str(250 * 1024 * 1024)}
    with running(tmp_path, database_url, **limits) as (_, one):

        def idle() -> bool:
            return one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL") == [{"n": 0}]

        wait_recycled(one, "count", lambda: idle() and one.create_many("short", 40, **SHORT))
        until(idle, 60)
        hoard = {"hoard": 240 * 1024 * 1024}
        wait_recycled(one, "memory", lambda: one.run("short", context=hoard, **SHORT))

        assert_one_after_the_other(one)
        assert set(one.restarts()) == {"count", "memory"}
        assert one.rows("SELECT count(*) AS n FROM tasker.step_attempts WHERE outcome <> 'complete'") == [{"n": 0}]


def test_workers_are_recycled_by_age_not_all_at_the_same_time(tmp_path, database_url):
    limits = {"TASKER_WORKER__RECYCLE_AGE_MS": "1000", "TASKER_WORKER__RECYCLE_JITTER": "0.5"}
    with running(tmp_path, database_url, **limits) as (_, one):
        wait_recycled(one, "age", lambda: one.run("short", **SHORT))

        assert_one_after_the_other(one)
        assert set(one.restarts()) == {"age"}
