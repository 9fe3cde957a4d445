"""A killed supervisor leaves no process behind, and the next one finishes its work (DESIGN G7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.project import Project
from support.supervised import is_running, supervised
from support.waiting import until

HANDLERS = """
import os
import subprocess
import threading
from tasker_actors import step_handler

@step_handler("short")
def short():
    threading.Event().wait(0.02)

@step_handler("leaves_orphans")
def leaves_orphans():
    subprocess.run(["sh", "-c", "for i in 1 2 3; do (sleep 0.1 &) ; done"], check=True)
    return {"process_space": os.readlink("/proc/self/ns/pid")}

@step_handler("gil")
def gil():
    sum(range(10 ** 12))
"""


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path / "project")
    found.module("orphan_handlers", HANDLERS)
    found.template(
        "pair",
        {
            "one": {"handler": "short", "publishes_events": [{"name": "pair.one"}]},
            "two": {"handler": "short", "publishes_events": [{"name": "pair.two"}], "dependencies": ["one"]},
        },
        namespace="orphans",
    )
    found.template("gil", {"gil": {}}, namespace="orphans")
    found.template("leaves", {"leaves_orphans": {}}, namespace="orphans")
    return found


def test_a_killed_supervisor_leaves_no_worker_after_two_seconds_and_a_new_one_finishes(project, database_url):
    # No lease ends and no leader settles a worker for its silence: the start of the new one has to do it.
    patient = {"TASKER_WORKER__LEASE_MS": "600000", "TASKER_MAINTENANCE__STALE_WORKER_MS": "600000"}
    with supervised(project, database_url, variables=patient, log="first.log") as first:
        first.create_many("pair", 150, namespace="orphans")
        query = "SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL"
        until(lambda: first.rows(query)[0]["n"] < 145)
        pids = first.worker_pids()
        assert len(pids) == 2

        first.process.kill()

        until(lambda: not any(is_running(pid) for pid in pids), 2)
        first.process.wait()
        assert first.rows(query)[0]["n"] > 0
    with supervised(project, database_url, variables=patient, log="second.log") as second:
        until(lambda: second.rows(query)[0]["n"] == 0, 60)
        messages = [row["message"] for row in second.queue("orphans_domain_events")]
        assert len(messages) == 300 == len({message["metadata"]["step_uuid"] for message in messages})
        assert second.rows("SELECT DISTINCT status FROM tasker.tasks") == [{"status": "complete"}]
        dead = second.rows("SELECT count(*) AS n FROM tasker.workers WHERE alive")
        assert dead == [{"n": 2}]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux ties a worker that holds the interpreter")
def test_even_a_worker_that_holds_the_interpreter_and_one_that_is_stopped_end_with_it(project, database_url):
    # A busy machine has to find the worker that holds the interpreter before that is replaced.
    patient = {"TASKER_WORKER__HANG_TIMEOUT_MS": "60000", "TASKER_WORKER__LEASE_MS": "90000"}
    with supervised(project, database_url, variables=patient) as one:
        one.create("gil", namespace="orphans")
        workers = [psutil.Process(pid) for pid in one.worker_pids()]

        busy: list[psutil.Process] = []

        def found() -> bool:
            busy[:] = [worker for worker in workers if worker.cpu_percent(0.2) > 30]
            return len(busy) == 1

        until(found, 30)
        next(worker for worker in workers if worker not in busy).send_signal(signal.SIGSTOP)

        one.process.kill()

        until(lambda: not any(is_running(worker.pid) for worker in workers), 2)
        one.process.wait()


def test_a_worker_whose_supervisor_died_before_it_said_anything_ends_without_a_word():
    read, write = os.pipe()
    os.close(write)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "tasker_actors.supervision.worker", str(read), "0", str(os.getpid())],
            pass_fds=(read,),
            capture_output=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(read)
    assert (ended.returncode, ended.stdout, ended.stderr) == (72, b"", b"")


CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def test_as_the_first_process_of_a_container_it_reaps_what_is_left_to_it_and_hands_signals_on(project, database_url):
    """The command as it is installed, with the process number 1: no init program is needed around it."""
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no process space of its own can be made here: run as root")
    with supervised(project, database_url, workers=1, under=CONTAINER) as one:
        (first,) = psutil.Process(one.process.pid).children()
        (supervisor,) = first.children()
        assert first.cmdline() == supervisor.cmdline()

        task = one.run("leaves", namespace="orphans")

        space = one.steps(task["task_uuid"])["leaves_orphans"]["result"]["process_space"]
        assert space == str(Path(f"/proc/{first.pid}/ns/pid").readlink())
        assert space != str(Path("/proc/self/ns/pid").readlink())
        # They are children of the first process until they have ended, and nothing is left of them after that.
        until(lambda: {*first.children(recursive=True)} == {supervisor, *supervisor.children(recursive=True)})
        assert {child.status() for child in supervisor.children()} & {psutil.STATUS_ZOMBIE} == set()
        first.send_signal(signal.SIGTERM)
        assert one.wait_ended() == 0, one.last_words()
        assert one.logged("Signal received", signal="SIGTERM")
