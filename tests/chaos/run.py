"""One chaos run: start everything, break it by the schedule, wait until all is done, compare."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
from chaos.checker import Known, check
from chaos.exactness import check_supervisors
from chaos.faults import DATABASE, Scene
from chaos.guardian import Guardian, Life
from chaos.history import History, read_history
from chaos.leftovers import left_in_database, left_on_disk, left_running
from chaos.load import Load
from chaos.memory import ROLES, memory_complaints
from chaos.report import Report, recovery, warnings, work_done
from chaos.runner import Runner
from chaos.schedule import Fault, FaultKind, make_schedule
from chaos.scrapes import Watcher, complaints
from chaos.workload import write_project
from support.project import Project
from support.stoppable_server import StoppableServer, stoppable_server
from support.unruly_proxy import UnrulyProxy
from support.waiting import until

_START_S = 90.0
_STANDSTILL_S = 120.0
"""After the last fault, with tasks open and none finished: longer than any lease, limit or start of a supervisor."""
_QUIET_S = 1.5
"""After the last commit, until every figure is visible: more than the 500 ms of SPEC 3."""
_REST_S = 20.0
"""Until a worker that has too much memory is replaced, the successor first, and what was freed is given back."""

VARIABLES: Mapping[str, str] = {
    # Crashes are what this is about; a crash loop that ends is tested elsewhere.
    "TASKER_WORKER__RESTART_LIMIT": "100000",
    "TASKER_LOGGING__EVENT_SAMPLE_RATE": "0",
    # As short as they may be, and shorter than connections are silent: others take steps over, and results come late.
    "TASKER_WORKER__HANG_TIMEOUT_MS": "3000",
    "TASKER_WORKER__LEASE_MS": "4500",
    "TASKER_WORKER__RECYCLE_STEPS": "1000",
    "TASKER_WORKER__RECYCLE_MEMORY_BYTES": str(220 * 2**20),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run; at most `open_tasks` are open at a time, `keep` leaves logs and journals also where all is well."""

    seed: int
    seconds: float
    workers: int = 3
    rate: float = 20.0
    open_tasks: int = 400
    pause_s: float = 2.5
    keep: bool = False
    kinds: Sequence[FaultKind] = tuple(FaultKind)

    @property
    def schedule(self) -> list[Fault]:
        """The faults."""
        return make_schedule(self.seed, self.seconds, pause_s=self.pause_s, kinds=self.kinds)

    @property
    def command(self) -> str:
        """How to run it again."""
        options = {
            "seed": self.seed,
            "minutes": f"{self.seconds / 60:g}",
            "workers": self.workers,
            "rate": f"{self.rate:g}",
            "open-tasks": self.open_tasks,
            "pause": f"{self.pause_s:g}",
        }
        only = [] if len(self.kinds) == len(FaultKind) else ["--only", *self.kinds]
        return " ".join(["scripts/chaos", *(f"--{name} {value}" for name, value in options.items()), *only])


class ChaosRun:
    """Everything of one run. `say` gets a line for each thing that happens."""

    def __init__(self, plan: Plan, directory: Path, server: StoppableServer, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._directory = directory
        self._server = server
        self._say = say
        self._open = 0
        self._weights: dict[str, dict[str, float]] = {}
        project = Project(directory)
        write_project(project)
        self.proxy = UnrulyProxy(server.socket)
        url = f"postgresql://tasker@127.0.0.1:{self.proxy.port}/{DATABASE}?sslmode=disable&gssencmode=disable"
        self.guardian = Guardian(project, url, workers=plan.workers, variables=VARIABLES)
        self.load = Load(plan.seed, lambda: self.guardian.url, self._backlog, rate=plan.rate)
        self.scene = Scene(self.guardian, server, self.proxy, self.load, directory)
        self.watcher = Watcher(self.guardian)

    def run(self) -> Report:
        """Do all of it."""
        began = time.monotonic()
        runner = Runner(self.scene, self._say)
        counting = threading.Event()
        counter = threading.Thread(target=self._count_open, args=(counting,), daemon=True)
        self.guardian.start()
        until(lambda: self.guardian.ready is not None or self.guardian.failure is not None, _START_S)
        self._say(f"ready after {time.monotonic() - began:.1f} s")
        self.watcher.start()
        counter.start()
        self.load.start()
        runner.run(self._plan.schedule)
        self._say("no more faults; waiting for what is open")
        self.load.stop()
        found = [*self._drained()]
        self._say("every task is finished" if not found else "not every task is finished")
        counting.set()
        counter.join()
        history, complained = self._finish()
        return Report(
            seed=self._plan.seed,
            minutes=self._plan.seconds / 60,
            workers=self._plan.workers,
            command=self._plan.command,
            faults_in_all=runner.begun.total(),
            faults=dict(runner.begun),
            given_up=dict(runner.given_up),
            work=work_done(history),
            unanswered=dict(self.load.unanswered),
            supervisors=[f"{life.number}: {life.told or 'alone'} → {life.exit_code}" for life in self.guardian.lives],
            recovery_s=recovery(history.journal, self.scene.killed),
            memory_mb=self._weights,
            scrapes=sum(each.scrapes for each in self.watcher.seen.values()),
            seconds=time.monotonic() - began,
            warnings=dict(warnings(self._directory)),
            complaints=[*found, *complained],
        )

    def close(self) -> None:
        """End what is left of it."""
        self.guardian.abandon()
        self.proxy.close()

    def _finish(self) -> tuple[History, list[str]]:
        """Scrape once more, stop, and compare everything."""
        last = self.guardian.lives[-1]
        threading.Event().wait(_QUIET_S)
        watched = [*self.watcher.stop(), *self.watcher.last_look(last), *self._heavy(last)]
        self._weights = {role: self.watcher.weight(role) for role in ROLES}
        exit_code = self.guardian.stop()
        history = read_history(self._server, DATABASE, self._directory)
        return history, [*watched, *self._complaints(history, exit_code)]

    def _heavy(self, last: Life) -> list[str]:
        """Weigh what is there until nothing is too heavy, or it was given the time for that."""

        def found() -> list[str]:
            self.watcher.weigh(last)
            return [*memory_complaints(self.watcher.living(), self.watcher.memory.values())]

        try:
            until(lambda: not found(), _REST_S)
        except AssertionError:
            return found()
        return []

    def _complaints(self, history: History, exit_code: int | None) -> Iterator[str]:
        known = Known(self.load.created, self.load.published, self.scene.doomed)
        yield from check(history, known)
        yield from complaints(self.watcher.seen.items())
        supervisors = [(life.number, life.supervisor_id) for life in self.guardian.lives]
        yield from check_supervisors(supervisors, self.watcher.seen, history.counts)
        yield from self._ends(exit_code)
        yield from self.load.wrong_answers
        yield from self.scene.orphans
        yield from left_running(self.guardian.lives, self._directory)
        yield from left_in_database(self._server)
        yield from left_on_disk(self._directory, [life.pid for life in self.guardian.lives])

    def _ends(self, exit_code: int | None) -> Iterator[str]:
        """Complain of supervisors that ended otherwise than they were told."""
        if exit_code != 0:
            yield f"end: the last supervisor's exit code is {exit_code}"
        # 5: told to drain while the database was away, it gave back what it could not finish.
        fitting = {"kill": (-9,), "term": (0, 5), None: ()}
        for life in self.guardian.lives:
            if life.exit_code not in fitting[life.told]:
                words = life.supervisor.last_words()[-600:]
                yield f"end: supervisor {life.number}, told: {life.told}, ended with {life.exit_code}; it said: {words}"
        if self.guardian.failure is not None:
            yield f"end: a supervisor did not start: {self.guardian.failure[-600:]}"

    def _drained(self) -> Iterator[str]:
        """Wait until every task is finished, for as long as some still finish; says how many do not in the end."""
        left = self._count()
        while left:
            try:
                until(lambda left=left: self._count() < left, _STANDSTILL_S)
            except AssertionError:
                yield f"drain: {left} tasks are not finished, and for {_STANDSTILL_S:.0f} s none of them was"
                return
            left = self._count()

    def _backlog(self) -> int:
        """How many more tasks are open than may be."""
        return self._open - self._plan.open_tasks

    def _count_open(self, ending: threading.Event) -> None:
        while not ending.wait(0.5):
            try:
                self._open = self._count()
            except psycopg.Error:
                continue

    def _count(self) -> int:
        rows = self._server.execute(
            "SELECT count(*) AS open FROM tasker.tasks WHERE completed_at IS NULL", database=DATABASE
        )
        return int(rows[0]["open"])


def chaos(plan: Plan, say: Callable[[str], None]) -> Report:
    """Run a plan from the first process to the last; what it worked in is removed, unless it complains or is kept."""
    directory = Path(tempfile.mkdtemp(prefix="tasker-chaos-"))
    report: Report | None = None
    try:
        with ExitStack() as stack:
            server = stack.enter_context(stoppable_server())
            server.execute(f"CREATE DATABASE {DATABASE}")
            run = ChaosRun(plan, directory / "project", server, say)
            stack.callback(run.close)
            report = run.run()
        return report
    finally:
        if plan.keep or report is None or report.complaints:
            say(f"logs and journals are in {directory}")
        else:
            shutil.rmtree(directory)
