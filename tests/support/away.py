"""A server that tests stop, freeze and starve, a project that runs on it, and the check that nothing was lost."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from support.project import Project
from support.servers import DatabaseServer
from support.supervised import Supervised
from support.waiting import until

HANDLERS = """
import threading
from tasker_actors import step_handler

@step_handler("short")
def short(context):
    threading.Event().wait(0.01)
    return {"step": context.step_name}
"""

NAMESPACE = "away"
STEPS = ("one", "two", "three")


class StoppableServer:
    """A separately started server that an administrator stops, starts and changes."""

    def __init__(self, server: DatabaseServer, programs: Path) -> None:
        self.url = server.url
        self.database = server.database
        self._programs = programs
        self._port = int(conninfo_to_dict(server.url)["port"])
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        self.data = Path(row[0])

    def stop(self, mode: str) -> None:
        """Stop it: `fast` or `immediate`."""
        self._control("-m", mode, "stop")

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._control("-l", self.data.parent / "log", "start")

    def refuse_connections(self, count: int) -> None:
        """Return once somebody has tried to connect so often to the server that is stopped."""
        with socket.create_server(("127.0.0.1", self._port)) as listener:
            listener.settimeout(30)
            for _ in range(count):
                listener.accept()[0].close()

    def execute(self, statement: str, *names: str) -> list[tuple[Any, ...]]:
        """Run a statement of an administrator, whatever the server's defaults are; `{}` are names."""
        with psycopg.connect(self.url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
            text = sql.SQL(statement).format(*map(sql.Identifier, names))  # type: ignore[arg-type]  # literals of tests
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def setting(self, name: str, value: str) -> Iterator[None]:
        """Change a setting of the whole server for the block, by reloading its configuration."""
        self.execute(f"ALTER SYSTEM SET {name} = {value}")
        self.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.execute(f"ALTER SYSTEM RESET {name}")
            self.execute("SELECT pg_reload_conf()")

    def sessions(self, application: str) -> dict[int, str]:
        """Our sessions (a pattern of LIKE): the number of the server's process to the application's name."""
        query = "SELECT pid, application_name FROM pg_stat_activity WHERE application_name LIKE %s"
        with psycopg.connect(self.url, autocommit=True) as connection:
            return dict(connection.execute(query, [application]).fetchall())

    @property
    def postmaster(self) -> psutil.Process:
        """The server's first process."""
        return psutil.Process(int((self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0]))

    def _control(self, *arguments: str | Path) -> None:
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        identity: Any = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        command = [self._programs / "pg_ctl", "-D", self.data, "-w", "-t", "60", *arguments]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", timeout=90, **identity
        )


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stop processes for the block: their connections stay open and say nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGCONT)


def database_name(url: str) -> str:
    """The name of the database in a URL."""
    return str(conninfo_to_dict(url)["dbname"])


def make_project(directory: Path) -> Project:
    """A template with a chain of three short steps, an event each."""
    project = Project(directory)
    project.module("away_handlers", HANDLERS)
    project.template(
        "chain",
        {
            name: {"handler": "short", "publishes_events": [{"name": f"chain.{name}"}], "dependencies": STEPS[:i][-1:]}
            for i, name in enumerate(STEPS)
        },
        namespace=NAMESPACE,
    )
    return project


def create_chains(one: Supervised, count: int) -> bool:
    """Create tasks; False, so that it may stand in a condition that more work brings about."""
    one.create_many("chain", count, namespace=NAMESPACE)
    return False


def finished(one: Supervised) -> int:
    """How many tasks are finished."""
    return int(one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NOT NULL")[0]["n"])


def unfinished(one: Supervised) -> int:
    """How many tasks are not finished."""
    return int(one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL")[0]["n"])


def failed_claims(one: Supervised) -> float:
    """How many claims were not answered."""
    labels = frozenset({("namespace", NAMESPACE), ("result", "failure")})
    return one.metrics()["tasker_step_claim_duration_milliseconds_count"][labels]


def database_check(one: Supervised) -> str | None:
    """What readiness says of the database; None where all is well."""
    answer = one.http.get("/health/ready")
    assert answer.status_code in (200, 503), answer.text
    document = answer.json()
    faults = {name: str(document["checks"][name]["message"]) for name in document["failing"]}
    assert (answer.status_code == 200) == (not faults), answer.text
    return faults.get("database", faults.get("checks"))


def waiting_workers(one: Supervised) -> int:
    """How many workers wait for the database."""
    message = one.http.get("/health/ready").json()["checks"]["workers"]["message"]
    _, found, count = message.removesuffix(" of them wait for the database").partition("running, ")
    return int(count) if found else 0


def outage_lines(one: Supervised, begin: int) -> dict[tuple[Any, str], int]:
    """The warnings, errors and lines of outages since a place in the log: (worker, sentence) → how often."""
    counts: dict[tuple[Any, str], int] = {}
    for line in one.lines[begin:]:
        sentence = str(line.get("event", line.get("text")))
        is_told = line.get("level") in ("warning", "error", None) or sentence == "The database answers again"
        if is_told and sentence != "Leases had expired and were given back":  # on a machine that is slow
            key = (line.get("worker"), sentence)
            counts[key] = counts.get(key, 0) + 1
    return counts


def assert_nothing_lost(one: Supervised, tasks: int) -> None:
    """Every step of every task is complete, with one message each, and the counters say the same."""
    assert one.rows("SELECT state, count(*) AS n FROM tasker.steps GROUP BY 1") == [
        {"state": "complete", "n": tasks * len(STEPS)}
    ]
    messages = [row["message"] for row in one.queue(f"{NAMESPACE}_domain_events")]
    assert len(messages) == tasks * len(STEPS)
    assert len({message["metadata"]["step_uuid"] for message in messages}) == len(messages)
    assert len({message["event_id"] for message in messages}) == len(messages)
    until(lambda: one.event_stats()["router"]["durable_routed"] == len(messages))
    assert one.event_stats()["router"]["routing_errors"] == 0
    wrong = one.rows("SELECT outcome, attempt FROM tasker.step_attempts WHERE outcome <> 'complete' OR attempt > 1")
    assert wrong == [], wrong
