"""What an init system does: keeps one supervisor running, and remembers how each one ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil
from support.project import Project
from support.supervised import Supervised

_PAUSE_S = 0.05
START_S = 90.0


@dataclass(slots=True)
class Life:
    """One supervisor from its start to its end; `told` says what we have done to end it: `kill` or `term`."""

    number: int
    supervisor: Supervised
    supervisor_id: str = ""
    ready_after_s: float = 0.0
    told: str | None = None
    exit_code: int | None = None
    workers: set[psutil.Process] = field(default_factory=set)

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        return self.supervisor.process.pid


class Guardian:
    """Starts a supervisor and, whenever it has ended, the next; in a thread of its own."""

    def __init__(self, project: Project, database_url: str, *, workers: int, variables: Mapping[str, str]) -> None:
        self._project = project
        self._database_url = database_url
        self._workers = workers
        self._variables = variables
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
        for life in self.lives:
            for process in (*life.workers, psutil.Process(life.pid)) if life.exit_code is None else ():
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
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
