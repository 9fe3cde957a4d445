"""Where all peers keep their work: databases of one embedded PostgreSQL, and a Redis that writes as durably."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tasker_actors.postgres.embedded import EmbeddedServer

START_MS = 60_000


@dataclass(slots=True)
class Place:
    """One server for all that use PostgreSQL, with fsync on as it is by default."""

    home: Path
    server_url: str
    _redis: subprocess.Popen[bytes] | None = field(default=None)
    _redis_port: int = 0

    def database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://postgres@/{name}?host={self.home}/postgres/run"

    def redis(self) -> str | None:
        """Return the URL of a Redis that syncs each write to its disk, started once; None where none is installed."""
        program = shutil.which("redis-server")
        if program is None:
            return None
        if self._redis is None:
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                self._redis_port = one.getsockname()[1]
            options = ["--port", str(self._redis_port), "--bind", "127.0.0.1", "--dir", str(self.home), "--save", ""]
            options += ["--appendonly", "yes", "--appendfsync", "always"]
            self._redis = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
            _await_port(self._redis_port)
        return f"redis://127.0.0.1:{self._redis_port}/0"

    def close(self) -> None:
        """End what was started here."""
        if self._redis is not None:
            self._redis.terminate()
            self._redis.wait()


@contextmanager
def place(home: Path) -> Iterator[Place]:
    """Start the server; all ends with the block."""
    server = EmbeddedServer.start(home, START_MS)
    found = Place(home, server.url)
    try:
        yield found
    finally:
        found.close()
        server.stop(time.monotonic() + 20)


def _await_port(port: int) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            pause.wait(0.02)
        else:
            return
    raise TimeoutError("redis-server does not answer")
