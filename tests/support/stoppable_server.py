"""A PostgreSQL server of its own that an administrator stops, starts, crashes and reconfigures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from support.servers import debian_programs

from tasker_actors.postgres.embedded.account import ServerAccount, server_account
from tasker_actors.postgres.embedded.launch import program_trees, programs

_USER = "tasker"
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"}
SETTINGS: Mapping[str, str | int] = {"listen_addresses": "", "max_connections": 60, "fsync": "off"}
"""No port of its own: clients come through a proxy. A killed server loses nothing without fsync, a machine would."""


class StoppableServer:
    """A running server. It listens on a Unix socket in its home directory only, so no port is ever in doubt.

    Its programs are those of Debian where they are installed, else those of the embedded server.
    """

    def __init__(self, home: Path, settings: Mapping[str, str | int]) -> None:
        self.home = home
        self.is_up = False
        self._programs = debian_programs() or programs()
        self._account = _account(home, self._programs)
        self._data = home / "data"
        self._run("initdb", "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(
                f"{name} = '{value}'\n" for name, value in {"unix_socket_directories": str(home), **settings}.items()
            )

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.home / ".s.PGSQL.5432"

    def url(self, database: str = "postgres") -> str:
        """The way to a database past every proxy."""
        return make_conninfo("", host=str(self.home), user=_USER, dbname=database)

    def start(self) -> None:
        """Start it and wait until it takes connections, recovery and all."""
        self._run("pg_ctl", "-w", "-t", "60", "-l", self.home / "log", "start")
        self.is_up = True

    def stop(self, mode: str) -> None:
        """Stop it: `fast` ends sessions, `immediate` is a crash."""
        self.is_up = False
        self._run("pg_ctl", "-w", "-t", "60", "-m", mode, "stop")

    def execute(self, query: str, *parameters: Any, database: str = "postgres") -> list[dict[str, Any]]:
        """Run one statement of an administrator; returns the rows, if it gives some."""
        with psycopg.connect(self.url(database), autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def configure(self, name: str, value: str | None) -> None:
        """Set a setting for every session, those that are open too; None takes it back."""
        change = sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)) if value else None
        reset = sql.SQL("RESET {}").format(sql.Identifier(name))
        with psycopg.connect(self.url(), autocommit=True) as connection:
            # The administrator must be able to write where nobody else may.
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(sql.SQL("ALTER SYSTEM ") + (change or reset))
            connection.execute("SELECT pg_reload_conf()")

    def kill_backend(self, pid: int) -> None:
        """Kill one session's process, upon which the server throws all others out and recovers."""
        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Stop it in whatever state it is."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")

    def _run(self, program: str, *arguments: str | Path) -> None:
        identity: dict[str, Any] = {}
        if self._account.switch:
            identity = {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        # Output goes to a file: the server would keep a pipe open.
        with (self.home / "output").open("ab") as output:
            subprocess.run(
                [self._programs / program, "-D", self._data, *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_ENVIRONMENT,
                cwd="/",
                timeout=120,
                start_new_session=True,
                **identity,
            )


def _account(home: Path, directory: Path) -> ServerAccount:
    account = server_account(home / "data")
    account.take(home)
    if directory == programs():
        for tree in program_trees():
            account.open_programs(tree)
    return account


@contextmanager
def stoppable_server(settings: Mapping[str, str | int] | None = None) -> Iterator[StoppableServer]:
    """A running server with settings beside `SETTINGS`; nothing of it is left."""
    home = Path(tempfile.mkdtemp(prefix="tasker-stoppable-"))
    try:
        server = StoppableServer(home, {**SETTINGS, **(settings or {})})
        try:
            server.start()
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(home)
