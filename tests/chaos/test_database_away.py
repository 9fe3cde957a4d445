"""PostgreSQL stops, comes back, or cuts connections, under load: everybody waits and nothing is lost (DESIGN G4)."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import psycopg
import pytest
from support.project import Project
from support.servers import debian_programs, separate_server
from support.supervised import supervised
from support.waiting import until

HANDLERS = """
import threading
from tasker_actors import step_handler

@step_handler("short")
def short(context):
    threading.Event().wait(0.01)
    return {"step": context.step_name}
"""

STEPS = ("one", "two", "three")
CHAINS = 150


class StoppableServer:
    """A separately started server that an administrator stops and starts."""

    def __init__(self, server, programs):
        self.database = server.database
        self._programs = programs
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        self._data = Path(row[0])

    def _control(self, *arguments):
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        command = [self._programs / "pg_ctl", "-D", self._data, "-w", "-t", "60", *arguments]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", timeout=90, **identity
        )

    def stop(self, mode):
        self._control("-m", mode, "stop")

    def start(self):
        self._control("-l", self._data.parent / "log", "start")


@pytest.fixture(scope="module")
def server():
    programs = debian_programs()
    if programs is None:
        pytest.skip("no second PostgreSQL (15 or later) below /usr/lib/postgresql: install postgresql-15")
    with separate_server(programs) as found:
        yield StoppableServer(found, programs)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    found = Project(tmp_path_factory.mktemp("away") / "project")
    found.module("away_handlers", HANDLERS)
    found.template(
        "chain",
        {
            name: {"handler": "short", "publishes_events": [{"name": f"chain.{name}"}], "dependencies": STEPS[:i][-1:]}
            for i, name in enumerate(STEPS)
        },
        namespace="away",
    )
    return found


@pytest.fixture(scope="module")
def one(project, server):
    with server.database(migrated=True) as url, supervised(project, url) as found:
        yield found


def finished(one):
    return one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NOT NULL")[0]["n"]


def failed_claims(one):
    labels = frozenset({("namespace", "away"), ("result", "failure")})
    return one.metrics()["tasker_step_claim_duration_milliseconds_count"][labels]


def assert_nothing_lost(one, tasks):
    """Every step of every task complete, one message each, and the counters say the same."""
    assert one.rows("SELECT state, count(*) AS n FROM tasker.steps GROUP BY 1") == [
        {"state": "complete", "n": tasks * len(STEPS)}
    ]
    messages = [row["message"] for row in one.queue("away_domain_events")]
    assert len(messages) == tasks * len(STEPS)
    assert len({message["metadata"]["step_uuid"] for message in messages}) == len(messages)
    assert len({message["event_id"] for message in messages}) == len(messages)
    until(lambda: one.event_stats()["router"]["durable_routed"] == len(messages))
    assert one.event_stats()["router"]["routing_errors"] == 0
    wrong = one.rows("SELECT outcome, attempt FROM tasker.step_attempts WHERE outcome <> 'complete' OR attempt > 1")
    assert wrong == []


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_workers_wait_for_a_server_that_stops_under_load_and_go_on_by_themselves(one, server, mode):
    before, pids, failed_before = finished(one), one.worker_pids(), failed_claims(one)
    one.create_many("chain", CHAINS, namespace="away")
    until(lambda: finished(one) > before + 10)

    server.stop(mode)
    try:
        until(lambda: one.http.get("/health/ready").status_code == 503)
        failing = one.http.get("/health/ready").json()["failing"]
        assert failing == ["database"]
        assert one.http.get("/health/live").status_code == 200
        assert one.http.get("/metrics/events").status_code == 200
        refused = one.http.post("/v1/tasks", json={"name": "chain", "namespace": "away"})
        assert refused.status_code == 503
        assert one.worker_pids() == pids
        until(lambda: failed_claims(one) > failed_before)
    finally:
        server.start()

    until(lambda: finished(one) == before + CHAINS, 60)
    until(lambda: one.http.get("/health/ready").status_code == 200)
    assert_nothing_lost(one, before + CHAINS)
    assert one.worker_pids() == pids
    assert one.restarts() == {}


def test_connections_that_are_cut_in_the_middle_cost_nothing(one):
    before, pids = finished(one), one.worker_pids()
    one.create_many("chain", CHAINS, namespace="away")
    cuts = 0
    for done in range(before + 5, before + CHAINS - 20, 15):
        until(lambda done=done: finished(one) >= done, 60)
        cuts += one.rows(
            "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'tasker worker%'"
        )[0]["n"]

    until(lambda: finished(one) == before + CHAINS, 60)
    assert cuts > 4
    assert_nothing_lost(one, before + CHAINS)
    assert one.worker_pids() == pids
    assert one.restarts() == {}


def test_a_supervisor_that_is_told_to_stop_while_the_database_is_away_ends_and_the_next_one_finishes(project, server):
    with server.database(migrated=True) as url:
        limit = {"TASKER_SUPERVISOR__DRAIN_TIMEOUT_MS": "500"}
        with supervised(project, url, variables=limit, log="told_to_stop.log") as first:
            first.create_many("chain", 60, namespace="away")
            until(lambda: finished(first) > 5)
            server.stop("fast")
            try:
                until(lambda: first.http.get("/health/ready").status_code == 503)
                assert first.stop() == 5
                assert " of task " in first.last_words()
            finally:
                server.start()
        with supervised(project, url, log="after_the_stop.log") as second:
            until(lambda: finished(second) == 60, 60)
            messages = [row["message"]["metadata"]["step_uuid"] for row in second.queue("away_domain_events")]
            assert len(messages) == len(set(messages)) == 60 * len(STEPS)
