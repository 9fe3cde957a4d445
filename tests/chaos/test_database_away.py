"""PostgreSQL stops, comes back, or cuts connections, under load: everybody waits and nothing is lost (DESIGN G4)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.away import (
    STEPS,
    StoppableServer,
    assert_nothing_lost,
    create_chains,
    database_check,
    database_name,
    failed_claims,
    finished,
    frozen,
    make_project,
    outage_lines,
    unfinished,
    waiting_workers,
)
from support.monotone import monotone
from support.project import Project
from support.servers import debian_programs, separate_server
from support.supervised import Supervised, kill, supervised
from support.waiting import until

CHAINS = 60
ALL_SESSIONS = "tasker %"
WAITING = "Waiting for the database"
ANSWERS = "The database answers again"

# No session waits long for a silent server, and no process that is stopped for a moment counts as hung.
LIMITS = {
    "TASKER_DATABASE__ANSWER_TIMEOUT_MS": "3000",
    "TASKER_DATABASE__CONNECT_TIMEOUT_MS": "3000",
    "TASKER_WORKER__HANG_TIMEOUT_MS": "60000",
    "TASKER_WORKER__LEASE_MS": "90000",
}


@pytest.fixture(scope="module")
def server() -> Iterator[StoppableServer]:
    programs = debian_programs()
    if programs is None:
        pytest.skip("no second PostgreSQL (15 or later) below /usr/lib/postgresql: install postgresql-15")
    with separate_server(programs) as found:
        server = StoppableServer(found, programs)
        server.execute("ALTER SYSTEM SET max_connections = 40")  # so that a test can take them all
        server.stop("fast")
        server.start()
        yield server


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("away") / "project")


@pytest.fixture(scope="module")
def one(project: Project, server: StoppableServer) -> Iterator[Supervised]:
    with server.database(migrated=True) as url, supervised(project, url, variables=LIMITS) as found:
        yield found


@pytest.fixture
def work(one: Supervised) -> Iterator[None]:
    """Work under way during the test, all of which is finished at its end, by the same workers; no counter falls."""
    before, pids = finished(one), one.worker_pids()
    create_chains(one, CHAINS)
    until(lambda: finished(one) > before + 5, 60)
    with monotone(one):
        yield
        until(lambda: unfinished(one) == 0, 120)
        until(lambda: database_check(one) is None)
        assert_nothing_lost(one, finished(one))
    assert one.worker_pids() == pids
    assert one.restarts() == {}
    assert one.logged("Actor restarted") == [], one.logged("Actor restarted")[0]["exception"]


def assert_told_once(one: Supervised, begin: int) -> None:
    """Each process that waited says that this is over, and nothing else was worth a warning."""

    def waiting() -> set[Any]:
        lines = outage_lines(one, begin)
        return {who for who, what in lines if what == WAITING and lines[who, what] > lines.get((who, ANSWERS), 0)}

    until(lambda: not waiting())
    assert {what for _, what in outage_lines(one, begin)} == {WAITING, ANSWERS}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_workers_wait_for_a_server_that_stops_under_load_and_go_on_by_themselves(
    one: Supervised, server: StoppableServer, work: None, mode: str
):
    failed_before, begin = failed_claims(one), len(one.lines)

    server.stop(mode)
    try:
        until(lambda: "refused" in (database_check(one) or ""))
        assert one.http.get("/health/live").status_code == 200
        assert one.http.get("/metrics/events").status_code == 200
        until(lambda: waiting_workers(one) == 2)
        for path, more in (("/v1/tasks", {}), ("/v1/events", {"name": "chain.more", "payload": {}})):
            refused = one.http.post(path, json={"name": "chain", "namespace": "away", **more})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), refused.text
            assert refused.json()["error"]["code"] == "database_unavailable"
        until(lambda: failed_claims(one) > failed_before)
        server.refuse_connections(20)
    finally:
        server.start()

    until(lambda: database_check(one) is None)
    told_once = {(who, what): 1 for who in (None, 0, 1) for what in (WAITING, ANSWERS)}
    until(lambda: outage_lines(one, begin).keys() == told_once.keys())
    assert outage_lines(one, begin) == told_once


def test_sessions_that_are_ended_one_after_the_other_are_made_again(
    one: Supervised, server: StoppableServer, work: None
):
    for pid, name in server.sessions(ALL_SESSIONS).items():
        server.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
        if name != "tasker supervisor":  # the pool makes as many as it needs
            until(lambda name=name: name in server.sessions(ALL_SESSIONS).values() or create_chains(one, 1))
        assert one.http.get("/v1/tasks").status_code == 200


def test_sessions_that_fall_silent_are_given_up_in_time(one: Supervised, server: StoppableServer, work: None):
    """Their server processes are stopped: the kernel acknowledges what is sent, and nobody ever answers."""
    silent = server.sessions(ALL_SESSIONS)

    def are_made_again() -> bool:
        made = {name for pid, name in server.sessions(ALL_SESSIONS).items() if pid not in silent}
        return made == set(silent.values()) or create_chains(one, 1)

    with frozen(*silent):
        until(are_made_again, 60)
        assert one.http.get("/health/live").status_code == 200


def test_a_server_that_is_stopped_as_a_whole_silences_no_probe(one: Supervised, server: StoppableServer, work: None):
    postmaster = server.postmaster
    begin = len(one.lines)
    with frozen(postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))):
        until(lambda: any(what == WAITING for _, what in outage_lines(one, begin)))
        for _ in range(12):  # more than there are threads for probes
            assert one.http.get("/health/live").status_code == 200
            assert one.http.get("/health/ready").status_code == 503
        refused = one.http.post("/v1/tasks", json={"name": "chain", "namespace": "away"})
        assert refused.status_code == 503
    assert_told_once(one, begin)


def test_workers_wait_for_a_connection_while_there_are_too_many(one: Supervised, server: StoppableServer, work: None):
    lost = [pid for pid, name in server.sessions(ALL_SESSIONS).items() if name.startswith("tasker worker")]
    with psycopg.connect(server.url, autocommit=True) as administrator, ExitStack() as hoard:
        with frozen(*one.worker_pids()):
            administrator.execute("SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s::int[]) AS pid", [lost])
            with suppress(psycopg.OperationalError):
                while True:
                    hoard.enter_context(psycopg.connect(server.url))
        until(lambda: waiting_workers(one) == 2)
        assert "every worker waits" in (database_check(one) or "")
        assert one.http.get("/health/live").status_code == 200


def test_a_database_that_is_read_only_for_a_while_ends_nobody(one: Supervised, server: StoppableServer):
    """As after a failover: the sessions that were made meanwhile would stay read-only for ever.

    The last test of these workers, because it kills one of them.
    """
    name, before = database_name(one.database_url), finished(one)
    create_chains(one, CHAINS)
    until(lambda: finished(one) > before + 5, 60)
    server.execute("ALTER DATABASE {} SET default_transaction_read_only = on", name)
    try:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tasker %'")
        until(lambda: "read-only" in (database_check(one) or ""))
        refused = one.http.post("/v1/tasks", json={"name": "chain", "namespace": "away"})
        assert refused.status_code == 503
        assert "read-only" in refused.json()["error"]["message"]
        assert one.http.get("/v1/tasks").status_code == 200

        kill(next(iter(one.worker_pids())))
        until(lambda: bool(one.logged("Worker ended", reason="signal")))
        assert one.http.get("/health/live").status_code == 200
    finally:
        server.execute("ALTER DATABASE {} RESET default_transaction_read_only", name)
    until(lambda: database_check(one) is None)
    until(lambda: waiting_workers(one) == 0, 60)  # also the one that had made its sessions meanwhile
    until(lambda: finished(one) == before + CHAINS, 120)
    until(lambda: len(one.worker_pids()) == 2)
    assert one.logged("Actor restarted") == [], one.logged("Actor restarted")[0]["exception"]


def test_results_wait_for_room_on_the_disk(project: Project, server: StoppableServer, tmp_path: Path):
    disk = small_disk(tmp_path, server)
    if disk is None:
        pytest.skip("a file system of its own cannot be mounted here")
    server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
    try:
        with server.database(migrated=True) as url:
            server.execute("ALTER DATABASE {} SET TABLESPACE small", database_name(url))
            with supervised(project, url, variables=LIMITS, log="full.log") as one:
                create_chains(one, 200)
                until(lambda: finished(one) > 5, 60)
                filler = disk / "filler"
                with suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                try:
                    until(lambda: waiting_workers(one) == 2, 60)
                    assert one.http.get("/health/ready").status_code == 503
                    assert one.http.get("/health/live").status_code == 200
                    assert any("No space left" in line["error"] for line in one.logged(WAITING))
                finally:
                    filler.unlink()
                until(lambda: unfinished(one) == 0, 120)
                until(lambda: database_check(one) is None)
                assert_nothing_lost(one, 200)
                assert one.restarts() == {}
                assert one.logged("Actor restarted") == []
    finally:
        server.execute("DROP TABLESPACE small")
        subprocess.run(["umount", disk], check=True)


def small_disk(directory: Path, server: StoppableServer) -> Path | None:
    """A file system of 48 MiB for the server's account; None where nothing can be mounted."""
    disk = directory / "disk"
    disk.mkdir()
    owner = server.data.stat()
    for each in (disk, *disk.parents):
        if each.owner() == "root" and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o011)
    options = f"size=48m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=False, capture_output=True)
    return disk if mount.returncode == 0 else None


def test_a_supervisor_that_is_told_to_stop_while_the_database_is_away_ends_and_the_next_one_finishes(
    project: Project, server: StoppableServer
):
    chains = 1_000  # work for about four seconds, and the server goes within the first
    with server.database(migrated=True) as url:
        limit = {"TASKER_SUPERVISOR__DRAIN_TIMEOUT_MS": "500"}
        with supervised(project, url, variables=limit, log="told_to_stop.log") as first:
            create_chains(first, chains)
            until(lambda: finished(first) > 5, 60)
            server.stop("fast")
            try:
                until(lambda: first.http.get("/health/ready").status_code == 503)
                assert first.stop() == 5
                assert "returned to the queue unfinished" in first.last_words()
            finally:
                server.start()
        with supervised(project, url, log="after_the_stop.log") as second:
            until(lambda: finished(second) == chains, 120)
            messages = [row["message"]["metadata"]["step_uuid"] for row in second.queue("away_domain_events")]
            assert len(messages) == len(set(messages)) == chains * len(STEPS)
