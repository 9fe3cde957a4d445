"""A real `tasker-actors run` as a child process, and what a client and an administrator do with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from support.figures import Labels, scraped
from support.project import Project
from support.waiting import until

COMMAND = Path(sysconfig.get_path("scripts"), "tasker-actors")
CONFIG = Path(__file__).parents[2] / "config" / "test.toml"

FINAL = frozenset({"complete", "error", "cancelled"})

START_S = 60.0
WAIT_S = 60.0


def environment(**variables: str) -> dict[str, str]:
    """The environment of a child: quiet JSON logs, time to start on a busy machine, and `variables`."""
    return {
        **os.environ,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
        "TASKER_LOGGING__EVENT_SAMPLE_RATE": "0",
        "TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS": "60000",
        **variables,
    }


class Supervised:
    """A supervisor with its workers. Its log goes to a file, one JSON object a line."""

    def __init__(
        self,
        project: Project,
        database_url: str,
        *,
        workers: int = 2,
        concurrency: int = 4,
        variables: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        under: Sequence[str] = (),
        log: str = "supervisor.log",
    ) -> None:
        """`under` is a command that is given the whole command line of the supervisor to run."""
        self.database_url = database_url
        self.log = project.directory / log
        self._read = 0
        self._lines: list[dict[str, Any]] = []
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *under,
                    *(COMMAND, "run", "--config", CONFIG, "--bind", "127.0.0.1:0", *project.arguments),
                    *("--workers", str(workers), "--concurrency", str(concurrency), *options),
                ],
                cwd=project.directory,
                env=environment(**{"DATABASE_URL": database_url} if database_url else {}, **(variables or {})),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    # the process

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far; a line that is no JSON is under `text`."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                self._lines.append(_parsed(line))
        return self._lines

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines with this sentence and these fields."""
        return [
            line
            for line in self.lines
            if line.get("event") == event and all(line.get(key) == value for key, value in fields.items())
        ]

    def last_words(self) -> str:
        """The end of the log, for the message of a failed assertion."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def wait_ready(self, timeout_s: float = START_S) -> Supervised:
        """Block until the log says that the workers are ready."""
        until(lambda: bool(self.logged("Supervisor ready")) or self.process.poll() is not None, timeout_s)
        assert self.process.poll() is None, f"ended with {self.process.returncode}\n{self.last_words()}"
        self.url: str = self.logged("Supervisor ready")[-1]["url"]
        self.http = httpx.Client(base_url=self.url, timeout=30)
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor itself."""
        self.process.send_signal(number)

    def wait_ended(self, timeout_s: float = WAIT_S) -> int:
        """Block until the supervisor has ended, and return its exit code."""
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """Drain and return the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait_ended()

    def close(self) -> None:
        """End it in whatever state it is; for the end of a test."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if hasattr(self, "http"):
            self.http.close()

    # over HTTP

    def get(self, path: str, **query: Any) -> Any:
        """GET a JSON document."""
        return self.http.get(path, params=query).raise_for_status().json()

    def create(self, name: str, *, namespace: str, context: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Create a task and return its UUID."""
        body = {"name": name, "namespace": namespace, "context": dict(context or {}), **fields}
        answer = self.http.post("/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["task_uuid"])

    def create_many(self, name: str, count: int, *, namespace: str, context: Mapping[str, Any] | None = None) -> None:
        """Create tasks in batches."""
        task = {"name": name, "namespace": namespace, "context": dict(context or {})}
        for begin in range(0, count, 1000):
            answer = self.http.post("/v1/tasks/batch", json={"tasks": [task] * min(1000, count - begin)})
            assert answer.status_code == 201, answer.text

    def task(self, task_uuid: str) -> dict[str, Any]:
        """Read a task."""
        document: dict[str, Any] = self.get(f"/v1/tasks/{task_uuid}")
        return document

    def wait(self, task_uuid: str, status: str | None = None, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Block until a task is finished, and return it; `status` is what it must come to."""
        until(lambda: self.task(task_uuid)["status"] in FINAL, timeout_s)
        task = self.task(task_uuid)
        assert status is None or task["status"] == status, (task, self.last_words())
        return task

    def run(self, name: str, *, namespace: str, status: str | None = "complete", **fields: Any) -> dict[str, Any]:
        """Create a task and wait for its end."""
        return self.wait(self.create(name, namespace=namespace, **fields), status)

    def steps(self, task_uuid: str) -> dict[str, dict[str, Any]]:
        """Read a task's steps by name, with their results."""
        return {step["name"]: step for step in self.get(f"/v1/tasks/{task_uuid}/workflow_steps")}

    def workers(self) -> dict[int, dict[str, Any]]:
        """This supervisor's live workers by slot."""
        own = self.get("/metrics/events")["worker_id"]
        return {
            worker["slot"]: worker
            for worker in self.get("/v1/workers")["workers"]
            if worker["supervisor_id"] == own and worker["alive"]
        }

    def wait_workers(self, fits: Callable[[dict[int, dict[str, Any]]], bool], timeout_s: float = WAIT_S) -> None:
        """Block until the running workers, by slot, are as wanted."""

        def found() -> bool:
            running = {slot: one for slot, one in self.workers().items() if one["state"] == "running" and one["pid"]}
            return fits(running)

        until(found, timeout_s)

    def worker_pids(self) -> set[int]:
        """The worker processes, as the operating system knows them."""
        return worker_pids(self.process.pid)

    def event_stats(self) -> dict[str, Any]:
        """Read `GET /metrics/events`."""
        document: dict[str, Any] = self.get("/metrics/events")
        return document

    def restarts(self) -> dict[str, int]:
        """Restarts of workers by reason, of those reasons that there were."""
        found: dict[str, int] = {}
        for labels, count in self.metrics()["tasker_workers_restarts_total"].items():
            if count:
                reason = dict(labels)["reason"]
                found[reason] = found.get(reason, 0) + int(count)
        return found

    def metrics(self) -> dict[str, dict[Labels, float]]:
        """Scrape `GET /metrics`: sample name to label set to value."""
        return scraped(self.http.get("/metrics").raise_for_status().text)

    # in the database

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Read rows as dicts."""
        with psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query, parameters or None).fetchall()  # type: ignore[arg-type]  # literals of tests

    def attempts(self, task_uuid: str, step: str) -> list[dict[str, Any]]:
        """Read the attempts of a step in the order of their leases, with `gap_s`: seconds since the one before."""
        return self.rows(
            """
            SELECT a.*, extract(epoch FROM a.finished_at - lag(a.finished_at) OVER (ORDER BY a.token))::float AS gap_s
            FROM tasker.step_attempts a JOIN tasker.steps s USING (task_uuid, position)
            WHERE task_uuid = %s AND s.name = %s ORDER BY a.token
            """,
            task_uuid,
            step,
        )

    def queue(self, name: str) -> list[dict[str, Any]]:
        """Read a queue in order, without taking anything: msg_id, message, headers."""
        table = sql.Identifier("pgmq", f"q_{name}")
        query = sql.SQL("SELECT msg_id, message, headers FROM {} ORDER BY msg_id").format(table)
        with psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def messages(self, namespace: str, task_uuid: str) -> list[dict[str, Any]]:
        """Read the durable events of one task, in order."""
        found = self.queue(f"{namespace}_domain_events")
        return [row for row in found if row["message"]["metadata"]["task_uuid"] == task_uuid]

    def dead_letters(self, namespace: str, task_uuid: str) -> list[dict[str, Any]]:
        """Read the dead letters of one task, in order."""
        found = self.queue(f"{namespace}_domain_events_dlq")
        return [row["message"] for row in found if row["message"]["event"]["metadata"]["task_uuid"] == task_uuid]


@contextmanager
def supervised(project: Project, database_url: str, **keys: Any) -> Iterator[Supervised]:
    """A supervisor that is ready; it is ended with the block, and must not have been the one that failed."""
    one = Supervised(project, database_url, **keys)
    try:
        yield one.wait_ready()
    finally:
        one.close()


def run_to_end(
    project: Project,
    *,
    arguments: Sequence[str] = (),
    timeout_s: float = 60.0,
    **variables: str,
) -> tuple[int, str]:
    """Run `tasker-actors run` for the cases in which it ends by itself; returns exit code and all it has written."""
    done = subprocess.run(
        [COMMAND, "run", "--config", CONFIG, *project.arguments, *arguments],
        cwd=project.directory,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
        text=True,
    )
    return done.returncode, done.stdout


def worker_pids(supervisor_pid: int) -> set[int]:
    """The worker processes of a supervisor."""
    try:
        children = psutil.Process(supervisor_pid).children()
        return {child.pid for child in children if "tasker_actors.supervision.worker" in child.cmdline()}
    except psutil.NoSuchProcess:
        return set()


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    """`kill -9`, of a process that may have ended a moment ago."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": line.decode(errors="replace").rstrip()}
