"""Fixtures for every kind of test: two real PostgreSQL servers, and a database of its own for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.effort import use_effort
from support.servers import DatabaseServer, debian_programs, pooled, separate_server

from tasker_actors.postgres.embedded import EmbeddedServer

_FOREIGN = ("TASKER_", "DATABASE_URL", "TELEMETRY_", "OTEL_", "PG", "LOG_LEVEL", "LOG_FORMAT", "NOTIFY_SOCKET")
_NOT_ALL_RAN = 10


def pytest_configure(config: pytest.Config) -> None:
    """Forget what the developer's shell says about databases and telemetry, and use temporary directories of our own.

    Every pytest of a user closes /tmp/pytest-of-USER to others when it starts; a server that root runs under another
    account, in a test of another session, would lose its way to its files.
    """
    use_effort()
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    if not hasattr(config, "workerinput"):
        directory = tempfile.mkdtemp(prefix="tasker-tests-")
        os.environ["PYTEST_DEBUG_TEMPROOT"] = directory
        config.add_cleanup(lambda: shutil.rmtree(directory))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI a skipped test is a failed run: everything that tests need can be installed there.

    Such a run, and one in which a test ended its process, has another exit code than one with failed tests: running
    those again would not mend it.
    """
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    stats = reporter.stats if reporter is not None else {}
    skipped = stats.get("skipped", [])
    if skipped and os.environ.get("CI") == "true":
        reporter.write_line(f"{len(skipped)} skipped: under CI that is a failure", red=True)
        session.exitstatus = _NOT_ALL_RAN
    # As xdist reports it: a failure that no phase of a test had.
    if any(report.when == "???" for report in stats.get("failed", [])):
        session.exitstatus = _NOT_ALL_RAN


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """The embedded server, as users get it."""
    server = EmbeddedServer.start(tmp_path_factory.mktemp("home"), startup_timeout_ms=60_000)
    yield DatabaseServer(server.url)
    server.stop(time.monotonic() + 20)


@pytest.fixture(scope="session")
def debian_server() -> Iterator[DatabaseServer]:
    """A separately installed and started server of another version, reached over TCP with a password."""
    directory = debian_programs()
    if directory is None:
        pytest.skip("no second PostgreSQL (15 or later) below /usr/lib/postgresql: install postgresql-15")
    with separate_server(directory) as server:
        yield server


@pytest.fixture(params=["embedded_server", "debian_server"], ids=["embedded", "debian"])
def any_server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each of the two servers in turn."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def database_url(embedded_server: DatabaseServer) -> Iterator[str]:
    """A fresh migrated database with PGMQ, on the embedded server."""
    with embedded_server.database(migrated=True) as url:
        yield url


@pytest.fixture
def any_database_url(any_server: DatabaseServer) -> Iterator[str]:
    """A fresh migrated database with PGMQ, on each server in turn."""
    with any_server.database(migrated=True) as url:
        yield url


@pytest.fixture
def pgbouncer_url(debian_server: DatabaseServer) -> Iterator[str]:
    """A fresh migrated database behind a PgBouncer in transaction mode."""
    program = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("no pgbouncer: install it")
    with debian_server.database(migrated=True) as url, pooled(Path(program), url) as pooled_url:
        yield pooled_url


@pytest.fixture
def empty_database_url(any_server: DatabaseServer) -> Iterator[str]:
    """A database with nothing in it, on each server in turn."""
    with any_server.database(migrated=False) as url:
        yield url
