"""A PostgreSQL server of our own in `$TASKER_HOME/postgres`: started when needed, shared, stopped by its last user."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import psycopg
import structlog
from psycopg import sql

from tasker_actors.errors import DatabaseUnavailableError, StartupError
from tasker_actors.postgres.embedded.account import server_account
from tasker_actors.postgres.embedded.file_lock import SharedUse, exclusive
from tasker_actors.postgres.embedded.files import (
    DATABASE,
    PORT,
    SUPERUSER,
    ServerFiles,
    database_url,
    make_socket_directory,
    socket_path,
)
from tasker_actors.postgres.embedded.launch import initialise, launch, program_trees, require_same_version
from tasker_actors.postgres.embedded.process import Postmaster, running_postmaster

_PAUSE_S = 0.02
_IMMEDIATE_STOP_S = 5.0
_LAST_BREATH_S = 1.0
_LEAST_CONNECT_TIMEOUT_S = 2  # libpq waits no less

logger = structlog.get_logger(__name__)


class EmbeddedServer:
    """One process's use of the server of one home directory.

    Several supervisors may share a home: the second finds the server running, and whoever stops last stops it. A
    supervisor that is killed leaves it running; the next one takes it over and stops it like its own. The server is no
    part of our process group: signals from a terminal do not reach it. Not thread-safe.
    """

    def __init__(self, files: ServerFiles) -> None:
        """Do nothing yet; use `start`."""
        self._files = files
        self._use: SharedUse | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    @classmethod
    def start(cls, home: Path, startup_timeout_ms: int) -> Self:
        """Return a use of the running server, made and launched as needed; blocks for at most the time limit.

        Raises DatabaseUnavailableError if the server does not become ready in time (it then goes on recovering, and
        the next start finds it further on), and StartupError for all that waiting would not mend.
        """
        server = cls(ServerFiles.below(home))
        server.ensure_running(startup_timeout_ms)
        return server

    @property
    def url(self) -> str:
        """The URL of the database `tasker`, for psql and every client built on libpq."""
        return self._url

    @property
    def log_file(self) -> Path:
        """The server's own log."""
        return self._files.log

    def is_running(self) -> bool:
        """Return whether the server's process is there, and reap it if it was ours and has ended."""
        self._reap()
        return running_postmaster(self._files.data) is not None

    def ensure_running(self, timeout_ms: int) -> None:
        """Launch the server again if it has died, under the same URL where possible; errors as for `start`."""
        deadline = time.monotonic() + timeout_ms / 1000
        try:
            self._files.root.mkdir(parents=True, exist_ok=True)
            with exclusive(self._files.change_lock, deadline):
                first = self._use is None
                self._use = self._use or SharedUse(self._files.use_lock)
                try:
                    self._url = self._run(deadline)
                except BaseException:
                    if first:
                        self._let_go()
                    raise
        except OSError as error:
            msg = f"the embedded server cannot use {self._files.root}: {error}"
            raise StartupError(msg) from error

    def stop(self, deadline: float) -> bool:
        """End this use, and the server if nobody else uses it; returns whether the server is down.

        Sessions are ended, committed work is kept. Past the deadline (of `time.monotonic`) the server is stopped at
        once, and recovers at its next start. Does nothing the second time.
        """
        if self._use is None:
            return not self.is_running()
        try:
            with exclusive(self._files.change_lock, deadline):
                if self._use.is_sole():
                    self._terminate(deadline)
                self._let_go()
        except StartupError:
            logger.warning("Embedded PostgreSQL left running: another process is starting or stopping it")
            self._let_go()
        return not self.is_running()

    def _run(self, deadline: float) -> str:
        """Bring the server up and return its URL; the change lock is held."""
        account = server_account(self._files.data)
        account.open_way(self._files.data)
        for tree in program_trees():
            account.open_programs(tree)
        initialise(self._files, account, deadline)
        require_same_version(self._files)
        account.take(self._files.data)
        found = self._settled(deadline)
        if found is not None and not socket_path(Path(found.socket_directory)).exists():
            # A cleaner of temporary files took the socket: nobody can reach this server any more.
            self._terminate(deadline)
            found = None
        if found is None:
            socket_directory = make_socket_directory(self._files, account)
            process = launch(self._files, account, socket_directory, deadline)
            if self._process is not None:
                self._process.wait()  # the one before it, which has ended: launch saw to that
            self._process = process
            found = self._ready(deadline)
        url = database_url(Path(found.socket_directory))
        _ensure_database(found.socket_directory, deadline)
        return url

    def _settled(self, deadline: float) -> Postmaster | None:
        """Return the server that runs already, ready; None if there is none, or one that has stopped meanwhile."""
        while (found := running_postmaster(self._files.data)) is not None:
            if found.status in ("ready", "standby"):
                return found
            self._check(deadline)
            self._reap()
            time.sleep(_PAUSE_S)
        return None

    def _ready(self, deadline: float) -> Postmaster:
        """Return our server once it takes connections; raises StartupError with its log if it ended instead."""
        while True:
            found = running_postmaster(self._files.data)
            if found is not None and found.status == "ready":
                return found
            if self._process is not None and self._process.poll() is not None:
                msg = f"the embedded PostgreSQL ended at once: {self._files.log_tail()} ({self._files.log})"
                raise StartupError(msg)
            self._check(deadline)
            time.sleep(_PAUSE_S)

    def _check(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            msg = (
                f"the embedded PostgreSQL in {self._files.data} is not ready in time: {self._files.log_tail(1)}; "
                "a recovery goes on in the background: start again, or raise startup_timeout_ms"
            )
            raise DatabaseUnavailableError(msg)

    def _terminate(self, deadline: float) -> None:
        """Stop the server's process: fast, past the deadline at once; a directory made for its socket goes too."""
        found = running_postmaster(self._files.data)
        if found is None:
            self._reap()
            return
        os.kill(found.pid, signal.SIGINT)
        if not self._gone(found.pid, deadline):
            logger.warning("Embedded PostgreSQL did not stop in time and is stopped at once")
            os.kill(found.pid, signal.SIGQUIT)
            self._gone(found.pid, time.monotonic() + _IMMEDIATE_STOP_S)
        with suppress(OSError):  # not empty: the server is still stopping
            Path(found.socket_directory).rmdir()

    def _gone(self, pid: int, deadline: float) -> bool:
        while self.is_running() and (now := running_postmaster(self._files.data)) is not None and now.pid == pid:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)
        return True

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def _let_go(self) -> None:
        """Forget the server, which others may be using."""
        if self._use is not None:
            self._use.release()
            self._use = None
        process, self._process = self._process, None
        if process is not None:
            ending = running_postmaster(self._files.data) is None
            try:
                process.wait(_LAST_BREATH_S if ending else 0)  # one that is ending would stay a zombie
            except subprocess.TimeoutExpired:
                process.returncode = 0  # it goes on without us: nobody will ask for its exit code


def running_url(home: Path) -> str | None:
    """Return the URL of a home's server if it runs and is ready; starts nothing and does not keep it from stopping."""
    found = running_postmaster(ServerFiles.below(home).data)
    return database_url(Path(found.socket_directory)) if found is not None and found.status == "ready" else None


def _ensure_database(socket_directory: str, deadline: float) -> None:
    """Create the database if it is not there; under the change lock, so that nobody else does at the same time."""
    try:
        with psycopg.connect(
            host=socket_directory,
            port=PORT,
            user=SUPERUSER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=max(_LEAST_CONNECT_TIMEOUT_S, math.ceil(deadline - time.monotonic())),
        ) as connection:
            there = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if there is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    except psycopg.OperationalError as error:
        msg = f"the embedded PostgreSQL at {socket_directory} runs and refuses a connection: {error}"
        raise DatabaseUnavailableError(msg) from error
