"""A supervisor of its own for a benchmark: two workers, the embedded server unless another is given, nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

WORKLOAD = Path(__file__).parent / "workload"
STEPS = 4
BATCH = 1000
STOP_SECONDS = 40
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """A supervisor that is ready."""

    url: str
    database_url: str
    home: Path
    pid: int
    seconds_to_ready: float

    def client(self) -> httpx.Client:
        """A client of its HTTP API."""
        return httpx.Client(base_url=self.url, timeout=60)

    def worker_pids(self) -> list[int]:
        """The processes of its workers."""
        children = psutil.Process(self.pid).children()
        return [child.pid for child in children if "tasker_actors.supervision.worker" in child.cmdline()]


@contextmanager
def home_directory() -> Iterator[Path]:
    """A directory for the embedded server, removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="tasker-bench-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running(
    home: Path,
    *,
    workers: int = 2,
    variables: Mapping[str, str] | None = None,
    templates: Path = WORKLOAD / "templates",
    began: Callable[[int], None] = lambda _pid: None,
) -> Iterator[RunningSystem]:
    """Start a supervisor in this home and stop it at the end; its log goes to a file there.

    `began` gets its pid at once.
    """
    # Bytecode is kept, as it is for users: without it, each start would compile the package anew.
    ours = ("TASKER_", "DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ |= {
        "TASKER_HOME": str(home),
        "PYTHONPATH": str(WORKLOAD),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
        # A line for each event costs more than the event; the figures are of the runtime, not of the terminal.
        "TASKER_LOGGING__EVENT_SAMPLE_RATE": "0",
        # A machine that others use too may take its time; how long is measured elsewhere.
        "TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS": "600000",
        **(variables or {}),
    }
    command = [str(Path(sys.executable).parent / "tasker-actors"), "run", "--workers", str(workers)]
    command += ["--bind", "127.0.0.1:0", "--templates", str(templates), "--handlers", "bench_handlers"]
    command += ["--handlers", "soak_handlers"]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        began(process.pid)
        assert process.stderr is not None
        ready = _wait_until_ready(process.stderr)
        seconds = time.perf_counter() - started
        with (home / "supervisor.log").open("a") as log:
            threading.Thread(target=lambda: log.writelines(process.stderr or ()), daemon=True).start()
            embedded = f"postgresql://postgres@/tasker?host={home}/postgres/run"
            database_url = environ.get("DATABASE_URL", embedded)
            yield RunningSystem(ready["url"], database_url, home, process.pid, seconds)
            _stop(process)
    finally:
        if process.poll() is None:
            _stop(process)


def _wait_until_ready(lines: Any) -> dict[str, Any]:
    seen = []
    for line in lines:
        seen.append(line)
        if "Supervisor ready" in line:
            found: dict[str, Any] = json.loads(line)
            return found
    raise RuntimeError("the supervisor did not start:\n" + "".join(seen))


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def create_chains(client: httpx.Client, count: int) -> None:
    """Create this many chains, a thousand in one request."""
    create_tasks(client, "chain", count)


def create_tasks(client: httpx.Client, name: str, count: int) -> None:
    """Create this many tasks of a template, a thousand in one request."""
    for start in range(0, count, BATCH):
        tasks = [{"namespace": "bench", "name": name, "context": {"number": start + n}} for n in range(BATCH)]
        client.post("/v1/tasks/batch", json={"tasks": tasks[: count - start]}).raise_for_status()


def wait_until_finished(connection: psycopg.Connection[Any]) -> None:
    """Wait until no task is open."""
    pause = threading.Event()
    while connection.execute("SELECT EXISTS (SELECT FROM tasker.tasks WHERE completed_at IS NULL)").fetchone() != (
        False,
    ):
        pause.wait(POLL_SECONDS)
