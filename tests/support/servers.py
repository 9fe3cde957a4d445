"""PostgreSQL servers that tests share, and databases of their own for each test."""

from __future__ import annotations

import itertools
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from support.waiting import until

from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.embedded.launch import programs, server_version
from tasker_actors.postgres.migrate import migrate
from tasker_actors.postgres.pgmq_install import install_pgmq

_DEBIAN = Path("/usr/lib/postgresql")
_TEMPLATE = "tasker_template"
_PASSWORD = "p:a/s@s?"
_QUOTED_PASSWORD = "p%3Aa%2Fs%40s%3F"


@dataclass(slots=True)
class DatabaseServer:
    """A running server; `url` is of a database that only makes others."""

    url: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _has_template: bool = False

    def database_url(self, name: str) -> str:
        """The URL of another database of this server."""
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    @contextmanager
    def database(self, *, migrated: bool) -> Iterator[str]:
        """The URL of a new database, dropped at the end with whatever is still connected to it."""
        if migrated and not self._has_template:
            self._create(_TEMPLATE, "template1")
            with connect(self.database_url(_TEMPLATE), application_name="tests") as connection:
                install_pgmq(connection)
                migrate(connection)
            self._has_template = True
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._create(name, _TEMPLATE if migrated else "template1")
        try:
            yield self.database_url(name)
        finally:
            self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _create(self, name: str, template: str) -> None:
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def debian_programs() -> Path | None:
    """The newest installed server from 15 on, of another major version than the embedded one; None if there is none."""
    embedded = server_version(programs()).partition(".")[0]
    found = {
        int(path.parent.parent.name): path.parent
        for path in _DEBIAN.glob("*/bin/postgres")
        if re.fullmatch(r"\d+", path.parent.parent.name) and path.parent.parent.name != embedded
    }
    return found[max(found)] if found and max(found) >= 15 else None


class Pooler:
    """A PgBouncer before a database, in transaction mode: each transaction may get another session."""

    def __init__(self, program: Path, target_url: str) -> None:
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.home = Path(tempfile.mkdtemp(prefix="tasker-pgbouncer-"))
        if account:
            os.chown(self.home, account.pw_uid, account.pw_gid)
        target = conninfo_to_dict(target_url)
        settings = self.home / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={target['host']} port={target.get('port', 5432)} user={target['user']} "
            f"password='{target['password']}'\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n"
            f"unix_socket_dir = {self.home}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
            f"logfile = {self.home}/log\npidfile = {self.home}/pid\n",
            encoding="utf-8",
        )
        settings.chmod(0o644)
        self.url = f"postgresql://anybody@/{target['dbname']}?host={self.home}&port=6432"
        self._command = [program, "-q", settings]
        self._identity: dict[str, Any] = (
            {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL, cwd="/", **self._identity)
        until((self.home / ".s.PGSQL.6432").exists)

    def stop(self) -> None:
        """End it at once, with every connection through it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@contextmanager
def pooler(program: Path, url: str) -> Iterator[Pooler]:
    """A PgBouncer before a database, started; it ends with the block."""
    found = Pooler(program, url)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(found.home)


@contextmanager
def pooled(program: Path, url: str) -> Iterator[str]:
    """The URL of a PgBouncer before a database."""
    with pooler(program, url) as found:
        yield found.url


@contextmanager
def separate_server(directory: Path) -> Iterator[DatabaseServer]:
    """A server of the programs in `directory`, on TCP with a password that needs quoting, as strangers run theirs."""
    account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    home = Path(tempfile.mkdtemp(prefix="tasker-separate-"))
    try:
        password = home / "password"
        password.write_text(_PASSWORD, encoding="utf-8")
        for path in (home, password):
            if account:
                os.chown(path, account.pw_uid, account.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]

        def run(*command: str | Path) -> None:
            # Output goes to a file: the server would keep a pipe open.
            with (home / "output").open("wb") as output:
                subprocess.run(command, check=True, stdout=output, stderr=output, cwd="/", **identity)

        data = home / "data"
        identify = ("-U", "tasker", "-A", "scram-sha-256", f"--pwfile={password}")
        run(directory / "initdb", "-D", data, *identify, "-E", "UTF8", "--locale=C", "--no-sync")
        with (data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{home}'\n"
                "max_connections = 200\nfsync = off\n"
            )
        run(directory / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", home / "log", "start")
        try:
            yield DatabaseServer(f"postgresql://tasker:{_QUOTED_PASSWORD}@127.0.0.1:{port}/postgres")
        finally:
            run(directory / "pg_ctl", "-D", data, "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(home)
