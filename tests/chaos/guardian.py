"""What an init system does: keeps one supervisor running, and remembers how each one ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from support.project import Project
from support.supervised import Supervised

_PAUSE_S = 0.05
START_S = 90.0
MARK = "CHAOS_RUN"
"""A variable that every process of a run inherits: by it those are found that nobody has seen start."""


@dataclass(slots=True)
class Life:
    """One supervisor from its start to its end; `told` says what we have done to end it: `kill` or `term`."""

    number: int
    supervisor: Supervised
    supervisor_id: str = ""
    ready_after_s: float = 0.0
    told: str | None = None
    exit_code: int | None = None
    processes: set[psutil.Process] = field(default_factory=set)
    """All that were seen below it: workers, and what they have started."""

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        return self.supervisor.process.pid


def processes_of(directory: Path) -> Iterator[psutil.Process]:
    """Find the processes of the run in this directory: what has its mark, or works in it."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get(MARK) == str(directory) or Path(process.cwd()).is_relative_to(directory):
                yield process


class Guardian:
    """Starts a supervisor and, whenever it has ended, the next; in a thread of its own."""

    def __init__(self, project: Project, database_url: str, *, workers: int, variables: Mapping[str, str]) -> None:
        self._project = project
        self._database_url = database_url
        self._workers = workers
        self._variables = {**variables, MARK: str(project.directory)}
        self._ending = threading.Event()
        self.lives: list[Life] = []
        self.failure: str | None = None
        self._ready: Life | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def ready(self) -> Life | None:
        """The life that answers requests now."""
        life = self._ready
        return life if life is not None and life.supervisor.process.poll() is None else None

    @property
    def url(self) -> str | None:
        """Where to send requests now."""
        life = self.ready
        return None if life is None else life.supervisor.url

    @property
    def directory(self) -> Path:
        """Where its supervisors work."""
        return self._project.directory

    def has_begun(self, pid: int) -> bool:
        """Whether a worker has come to its handlers: before that it is an interpreter that loads modules."""
        return (self.directory / f"journal-{pid}.log").exists()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> int | None:
        """Drain the last supervisor and return its exit code."""
        self._ending.set()
        life = self.lives[-1]
        if life.supervisor.process.poll() is None:
            life.told = "term"
            life.supervisor.signal(signal.SIGTERM)
        self._thread.join()
        return life.exit_code

    def abandon(self) -> None:
        """End everything in whatever state it is; for a run that failed."""
        self._ending.set()
        for process in processes_of(self.directory):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            supervisor = Supervised(
                self._project,
                self._database_url,
                workers=self._workers,
                concurrency=4,
                variables=self._variables,
                log=f"supervisor-{len(self.lives)}.log",
            )
            life = Life(len(self.lives), supervisor)
            self.lives.append(life)
            try:
                supervisor.wait_ready(START_S)
                life.supervisor_id = str(supervisor.logged("Supervisor ready")[-1].get("supervisor_id", ""))
                life.ready_after_s = time.monotonic() - began
                self._ready = life
            except AssertionError as error:
                if life.told is None:
                    self.failure = str(error)
            life.exit_code = supervisor.process.wait()
            self._ending.wait(_PAUSE_S)
