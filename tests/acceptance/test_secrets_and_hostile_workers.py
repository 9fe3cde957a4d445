"""Secrets are seen nowhere, whatever goes wrong; a worker that sends nonsense costs itself."""

from __future__ import annotations

import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from support.project import Project
from support.servers import DatabaseServer
from support.supervised import Supervised, run_to_end, supervised
from support.waiting import until

PASSWORD, KEY, TOKEN = "canary-password-7d1f", "canary-key-52aa", "canary-token-e090"
CANARY = "canary-"

HANDLERS = """
    import os, sys
    from tasker_actors import step_handler

    @step_handler("raises")
    def raises(context):
        import psycopg
        psycopg.connect(os.environ["TASKER_DATABASE__URL"] + "?sslmode=nonsense")

    @step_handler("garbage")
    def garbage(context):
        descriptor = int(sys.argv[2])  # the worker's end of the link to its supervisor
        os.write(descriptor, bytes.fromhex(context.get_input("bytes")))
        while True:
            os.read(os.pipe()[0], 1)
"""

# What pickle would do if anybody loaded it.
PICKLED = b"cos\nsystem\n(S'touch %s'\ntR."


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, embedded_server: DatabaseServer) -> Iterator[Supervised]:
    project = Project(tmp_path_factory.mktemp("secrets") / "project")
    project.module("secret_handlers", HANDLERS)
    project.template("raises", {"raises": {"retry": {"retryable": False}}}, namespace="secrets")
    project.template("garbage", {"garbage": {"retry": {"max_attempts": 1}}}, namespace="secrets")
    variables = {
        "TASKER_API_KEY": KEY,
        "TELEMETRY_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={TOKEN}",
        "LOG_LEVEL": "debug",
        "TASKER_WORKER__RESTART_LIMIT": "50",
    }
    with embedded_server.database(migrated=True) as url:
        parts = psycopg.conninfo.conninfo_to_dict(url)
        shown = f"postgresql://{parts['user']}:{PASSWORD}@/{parts['dbname']}?host={parts['host']}"
        options = ("--database-url", shown)
        with supervised(project, url, workers=1, variables=variables, options=options) as one:
            one.http.headers["x-api-key"] = KEY
            yield one


def test_no_secret_is_in_a_process_title(running: Supervised) -> None:
    supervisor = psutil.Process(running.process.pid)
    workers = supervisor.children()
    assert workers
    for process in (supervisor, *workers):
        assert CANARY not in " ".join(process.cmdline())
    assert "--database-url" not in supervisor.cmdline()
    assert running.get("/config")["database"]["url"].count("***") == 1  # it was taken all the same


def test_what_a_supervisor_keeps_in_files_is_for_its_user_alone(running: Supervised) -> None:
    blocks = list(Path("/dev/shm").glob(f"tasker-actors-*-{running.process.pid}-*"))  # noqa: S108  where they are
    assert blocks
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in blocks} == {0}
    # The embedded server believes whoever reaches its socket.
    (settings,) = running.rows(
        "SELECT current_setting('listen_addresses') AS addresses, current_setting('port') AS port,"
        " current_setting('unix_socket_directories') AS directory"
    )
    assert settings["addresses"] == ""
    directory = Path(settings["directory"])
    socket = directory / f".s.PGSQL.{settings['port']}"
    assert stat.S_ISSOCK(socket.stat().st_mode)
    assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0


def test_no_secret_is_in_an_answer_a_figure_or_a_line(running: Supervised) -> None:
    task = running.run("raises", namespace="secrets", status="error")
    running.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tasker worker%%'")
    running.signal(signal.SIGUSR1)
    until(lambda: bool(running.logged("Stacks of all threads")))
    until(
        lambda: bool(
            running.logged("Export to the collector fails; what does not fit the buffer is dropped and counted")
        )
    )
    answers = [
        running.http.get(path).text
        for path in ("/config", "/metrics", "/metrics/events", "/health", "/v1/workers", "/api-docs", "/nope")
    ]
    answers += [running.http.get(f"/v1/tasks/{task['task_uuid']}/workflow_steps").text]
    answers += [httpx.get(f"{running.url}/v1/tasks", headers={"x-api-key": f"{KEY}x"}).text]
    answers += [running.http.post("/v1/tasks", content=b"{", headers={"content-type": "application/json"}).text]
    assert [answer for answer in answers if CANARY in answer] == []
    assert CANARY not in running.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 64, (2**31).to_bytes(4, "big"), (2_000).to_bytes(4, "big") + b"[" * 2_000],
    ids=["noise", "a frame of 2 GiB", "nested too deeply"],
)
def test_a_worker_that_sends_nonsense_costs_itself(running: Supervised, content: bytes) -> None:
    running.wait_workers(lambda found: 0 in found)
    before = running.workers()[0]
    task = running.run("garbage", namespace="secrets", status="error", context={"bytes": content.hex()})
    assert "worker_lost" in str(running.steps(task["task_uuid"]))
    running.wait_workers(lambda found: 0 in found and found[0]["incarnation"] > before["incarnation"])
    assert running.process.poll() is None


def test_what_a_worker_sends_is_never_run(running: Supervised, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    pickled = PICKLED % str(touched).encode()
    running.run(
        "garbage",
        namespace="secrets",
        status="error",
        context={"bytes": (len(pickled).to_bytes(4, "big") + pickled).hex()},
    )
    assert not touched.exists()


@pytest.mark.parametrize("url", [f"postgresql://u:{PASSWORD}@127.0.0.1:9/d", f"postgresql://u:{PASSWORD}@[::/d"])
def test_a_database_url_that_cannot_be_used_is_shown_without_its_password(tmp_path: Path, url: str) -> None:
    project = Project(tmp_path / "project")
    project.module("handlers", "from tasker_actors import step_handler\n@step_handler('a')\ndef a(): return {}\n")
    project.template("one", {"a": {}}, namespace="secrets")
    arguments = ["--bind", "127.0.0.1:0"]
    limits = {"TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS": "500", "LOG_LEVEL": "debug"}
    code, said = run_to_end(project, arguments=arguments, DATABASE_URL=url, **limits)
    assert code in (2, 3)
    assert "127.0.0.1" in said or "the database URL cannot be read" in said
    assert CANARY not in said
