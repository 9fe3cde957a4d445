"""What fails inside a worker, or around it, is mended by the one who watches it (DESIGN 2, 3 rule 8, G11)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.project import Project
from support.supervised import COMMAND, CONFIG, Supervised, environment, is_running, kill, run_to_end, supervised
from support.supervised import worker_pids as workers_of
from support.waiting import until

HANDLERS = """
import gc, os, socket, threading
from tasker_actors import step_handler
from tasker_actors.actors import ActorSystem
from tasker_actors.messages import CommitItems, StepFinished

@step_handler("short")
def short():
    threading.Event().wait(0.005)

@step_handler("break_actors")
def break_actors():
    "Sends each actor that a step passes what makes it fail, among the messages of other steps."
    gc.unfreeze()  # what the worker made before its first step is out of the collector's sight
    system = next(found for found in gc.get_objects() if isinstance(found, ActorSystem))
    system.address("step_source").tell("nothing that it knows")
    system.address("event_router").tell(StepFinished(None))
    system.address("durable_publisher").tell(CommitItems(None))

@step_handler("cut_link")
def cut_link():
    "Shuts the socket pair to the supervisor down; the database's sockets have names."
    for number in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(number)))
        except OSError:
            continue
        with found:
            if found.family == socket.AF_UNIX and not found.getpeername():
                found.shutdown(socket.SHUT_RDWR)
    threading.Event().wait(60)
"""

SHORT = {"namespace": "watched"}


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path / "project")
    found.module("watched_handlers", HANDLERS)
    names = ["one", "two", "three"]
    found.template(
        "chain",
        {
            name: {"handler": "short", "publishes_events": [{"name": f"chain.{name}"}], "dependencies": names[:i][-1:]}
            for i, name in enumerate(names)
        },
        **SHORT,
    )
    for name in ("short", "break_actors", "cut_link"):
        found.template(name, {name: {"retry": {"max_attempts": 1}}}, **SHORT)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds a worker's sockets below /proc")
def test_failing_actors_lose_nothing_and_a_lost_link_ends_only_its_worker(project, database_url):
    with supervised(project, database_url, workers=1) as one:
        before = one.worker_pids()
        for failures in range(1, 5):
            one.create_many("chain", 40, **SHORT)
            one.run("break_actors", **SHORT)
            until(lambda failures=failures: actor_restarts(one) == dict.fromkeys(BROKEN, failures))
        until(lambda: one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL") == [{"n": 0}], 60)

        # What they held is in the ledger: every step has one attempt, every event was published once.
        assert one.rows("SELECT DISTINCT state, attempts FROM tasker.steps") == [{"state": "complete", "attempts": 1}]
        messages = [row["message"] for row in one.queue("watched_domain_events")]
        assert len(messages) == 480 == len({message["metadata"]["step_uuid"] for message in messages})
        assert one.worker_pids() == before

        task = one.run("cut_link", status="error", **SHORT)
        assert one.steps(task["task_uuid"])["cut_link"]["error"]["error_type"] == "worker_lost"
        # By itself, or killed where its end takes longer than it may on a slow machine.
        until(lambda: one.restarts() in ({"exit": 1}, {"signal": 1}), 60)
        assert one.logged("Worker ended")[0]["exit_code"] in (72, -9)
        assert len(one.logged("The link to the supervisor is lost; the worker ends")) == 1
        one.run("short", **SHORT)


BROKEN = ("step_source", "event_router", "durable_publisher")


def actor_restarts(one: Supervised) -> dict[str, int]:
    found: dict[str, int] = {}
    for labels, count in one.metrics()["tasker_actors_restarts_total"].items():
        if count:
            actor = dict(labels)["actor"]
            found[actor] = found.get(actor, 0) + int(count)
    return found


def test_without_a_worker_a_publication_is_refused_and_too_many_crashes_of_all_are_4(project, database_url):
    limits = {"TASKER_WORKER__RESTART_BACKOFF_MS": "4000", "TASKER_WORKER__RESTART_BACKOFF_MAX_MS": "4000"}
    limits |= {"TASKER_WORKER__RESTART_LIMIT": "100", "TASKER_WORKER__RESTART_LIMIT_OVERALL": "1"}
    event = {"name": "outside.event", "namespace": "watched", "payload": {}}
    with supervised(project, database_url, workers=1, variables=limits) as one:
        kill(one.worker_pids().pop())
        until(lambda: len(one.logged("Worker ended")) == 1)

        refused = one.http.post("/v1/events", json=event)
        assert refused.status_code == 503
        assert "no worker is running" in refused.json()["error"]["message"]
        ready = one.http.get("/health/ready")
        assert (ready.status_code, ready.json()["failing"]) == (503, ["workers"])

        one.wait_workers(lambda workers: len(workers) == 1)
        assert one.http.post("/v1/events", json=event).status_code == 202
        assert len(one.queue("watched_domain_events")) == 1

        kill(one.worker_pids().pop())
        assert one.wait_ended() == 4
        (last,) = one.logged("The supervisor ends")
        assert (
            "workers crashed more than 1 times in all within 30000 ms; the last one in slot 0: signal" in last["error"]
        )


def test_workers_that_do_not_become_ready_in_time_are_3_and_named(project, database_url):
    project.module(
        "never_ready",
        "import sys, threading\nif 'supervision.worker' in ' '.join(sys.orig_argv):\n    threading.Event().wait()\n",
    )
    limit = {"TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS": "4000"}

    code, output = run_to_end(project, arguments=("--workers", "2"), DATABASE_URL=database_url, **limit)

    assert code == 3
    assert "workers 0, 1 were not ready within 4000 ms" in output


def test_a_supervisor_whose_log_nobody_reads_ends_at_its_deadline_and_its_workers_with_it(project, database_url):
    limit = {"TASKER_SUPERVISOR__DRAIN_TIMEOUT_MS": "5000", "DATABASE_URL": database_url}
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [COMMAND, "run", "--config", CONFIG, "--bind", "127.0.0.1:0", *project.arguments],
        cwd=project.directory, env=environment(**limit), stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
    )  # fmt: skip
    try:
        with os.fdopen(reading, "rb", buffering=0) as log:
            for line in log:
                if json.loads(line)["event"] == "Supervisor ready":
                    break
            workers = workers_of(process.pid)
            assert len(workers) == 2
            # The stacks of all threads do not fit the pipe: once that line has begun, the supervisor is stuck in it.
            process.send_signal(signal.SIGUSR1)
            said = b""
            while b"Stacks of all threads" not in said:
                said += log.read(256)

            process.send_signal(signal.SIGTERM)

            # Without the deadline it would not end at all.
            assert process.wait(60) == 5
            until(lambda: not any(is_running(pid) for pid in workers))
    finally:
        process.kill()
        process.wait()
        os.close(writing)
