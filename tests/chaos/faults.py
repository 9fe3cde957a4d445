"""What each kind of fault does, to the real system.

A fault is begun by its function, which returns what ends it, None where nothing does. It raises NotNowError where its
victim is not there at the moment; the fault is tried again a little later.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from chaos.guardian import Guardian, Life
from chaos.load import Load
from chaos.schedule import Fault, FaultKind
from support.stoppable_server import StoppableServer
from support.supervised import is_running
from support.unruly_proxy import UnrulyProxy

DATABASE = "chaos"
_OURS = "FROM pg_stat_activity WHERE application_name LIKE 'tasker%' AND datname = 'chaos'"
_FREEZE_S = 8.0
"""A frozen worker is let go after this, if the hang detector has left anything of it."""

_ORPHAN_S = 10.0
"""A killed supervisor leaves no worker after 2 s, on a machine that has the time."""

End = Callable[[], None]


class NotNowError(Exception):
    """The victim is not there at the moment."""


@dataclass(slots=True)
class Scene:
    """All that faults act upon, and what they note of what they did."""

    guardian: Guardian
    server: StoppableServer
    proxy: UnrulyProxy
    load: Load
    directory: Path
    doomed: set[int] = field(default_factory=set)
    """Workers (pids) whose end we have caused, or may have."""
    killed: dict[int, float] = field(default_factory=dict)
    """Those that were killed alone, with the time of it (seconds since 1970)."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """From when to when the database was out of reach or refused (seconds since 1970)."""
    orphans: list[str] = field(default_factory=list)
    """Workers that outlived their killed supervisor."""
    is_disturbed: bool = False
    """Whether something is wrong with the whole database now; two such faults never overlap."""

    def life(self) -> Life:
        """The supervisor that is ready."""
        life = self.guardian.ready
        if life is None or life.told is not None:
            raise NotNowError
        return life

    def workers(self) -> list[psutil.Process]:
        """The workers of the supervisor that is ready, by pid."""
        life = self.life()
        found = [psutil.Process(pid) for pid in sorted(life.supervisor.worker_pids())]
        if not found:
            raise NotNowError
        life.processes.update(found)
        return found

    def worker(self, choice: float) -> psutil.Process:
        """One of them."""
        found = self.workers()
        return found[int(choice * len(found))]

    def condemn(self, processes: Sequence[psutil.Process]) -> None:
        """Note that these workers may end because of us."""
        self.doomed.update(process.pid for process in processes)


def begin(fault: Fault, scene: Scene) -> End | None:
    """Do it. Raises NotNowError."""
    try:
        return _BEGINNINGS[fault.kind](fault, scene)
    except (psutil.NoSuchProcess, ProcessLookupError, psycopg.OperationalError) as error:
        raise NotNowError from error


def _kill_worker(fault: Fault, scene: Scene) -> None:
    victim = scene.worker(fault.choice)
    scene.condemn([victim])
    scene.killed[victim.pid] = time.time()
    victim.kill()


def _pause_worker(fault: Fault, scene: Scene) -> End:
    victim = scene.worker(fault.choice)
    # On a busy machine it can come back so late that it counts as hung.
    scene.condemn([victim])
    return _stopped(victim)


def _freeze_worker(fault: Fault, scene: Scene) -> End:
    victim = scene.worker(fault.choice)
    scene.condemn([victim])
    return _stopped(victim)


def _pause_supervisor(_fault: Fault, scene: Scene) -> End:
    return _stopped(psutil.Process(scene.life().pid))


def _stopped(process: psutil.Process) -> End:
    process.suspend()

    def go_on() -> None:
        with suppress(psutil.NoSuchProcess):
            process.resume()

    return go_on


def _kill_supervisor(_fault: Fault, scene: Scene) -> None:
    life, workers = scene.life(), scene.workers()
    scene.condemn(workers)
    begun = [worker for worker in workers if scene.guardian.has_begun(worker.pid)]
    life.told = "kill"
    life.supervisor.process.kill()
    _, alive = psutil.wait_procs(begun, timeout=_ORPHAN_S)
    scene.orphans.extend(
        f"left: worker {each.pid} outlived its supervisor by {_ORPHAN_S} s" for each in alive if is_running(each.pid)
    )


def _term_supervisor(_fault: Fault, scene: Scene) -> None:
    life = scene.life()
    scene.condemn(scene.workers())  # those that do not get ready in time are killed at the end of the drain
    life.told = "term"
    life.supervisor.signal(signal.SIGTERM)


def _hup(_fault: Fault, scene: Scene) -> None:
    scene.condemn(scene.workers())  # the same
    scene.life().supervisor.signal(signal.SIGHUP)


def _add_worker(_fault: Fault, scene: Scene) -> End:
    life = scene.life()
    life.supervisor.signal(signal.SIGTTIN)

    def remove() -> None:
        if life is scene.guardian.ready and life.told is None:
            with suppress(NotNowError):
                scene.condemn(scene.workers())
            life.supervisor.signal(signal.SIGTTOU)

    return remove


def _stop_server(mode: str) -> Callable[[Fault, Scene], End]:
    def stop(_fault: Fault, scene: Scene) -> End:
        end = _disturbed(scene)
        scene.server.stop(mode)

        def start() -> None:
            scene.server.start()
            end()

        return start

    return stop


def _disturbed(scene: Scene) -> End:
    """Begin an outage; what is returned ends it."""
    if scene.is_disturbed:
        raise NotNowError
    scene.is_disturbed = True
    began = time.time()

    def end() -> None:
        scene.is_disturbed = False
        scene.outages.append((began, time.time()))

    return end


def _crash_backend(fault: Fault, scene: Scene) -> None:
    pids = _sessions(scene)
    _disturbed(scene)()
    scene.server.kill_backend(pids[int(fault.choice * len(pids))])


def _terminate_sessions(_fault: Fault, scene: Scene) -> None:
    _sessions(scene)
    _disturbed(scene)()
    scene.server.execute(f"SELECT pg_terminate_backend(pid) {_OURS}")


def _sessions(scene: Scene) -> list[int]:
    if scene.is_disturbed:
        raise NotNowError
    rows = scene.server.execute(f"SELECT pid {_OURS} ORDER BY pid")
    if not rows:
        raise NotNowError
    return [row["pid"] for row in rows]


def _cut_all(_fault: Fault, scene: Scene) -> None:
    if not scene.proxy.cut_all():
        raise NotNowError


def _cut_one(fault: Fault, scene: Scene) -> None:
    if not scene.proxy.cut_one(fault.choice):
        raise NotNowError


def _delay(fault: Fault, scene: Scene) -> End:
    end = _disturbed(scene)
    scene.proxy.delay_s = 0.005 + 0.045 * fault.choice

    def stop() -> None:
        scene.proxy.delay_s = 0.0
        end()

    return stop


def _silence_all(fault: Fault, scene: Scene) -> End:
    end = _disturbed(scene)
    silent = scene.proxy.silence(None)

    def stop() -> None:
        # Half of them come back to life, half are cut: a network does both.
        scene.proxy.speak(silent)
        if fault.choice < 0.5:
            for each in silent:
                each.cut()
        end()

    return stop


def _silence_one(fault: Fault, scene: Scene) -> End:
    silent = scene.proxy.silence(fault.choice)
    if not silent:
        raise NotNowError
    return lambda: scene.proxy.speak(silent)


def _read_only(_fault: Fault, scene: Scene) -> End:
    end = _disturbed(scene)
    scene.server.configure("default_transaction_read_only", "on")

    def stop() -> None:
        scene.server.configure("default_transaction_read_only", None)
        end()

    return stop


def _lock_steps(_fault: Fault, scene: Scene) -> End:
    end = _disturbed(scene)
    try:
        connection = psycopg.connect(scene.server.url(DATABASE))
        connection.execute("LOCK TABLE tasker.steps IN ACCESS EXCLUSIVE MODE")
    except psycopg.Error:
        end()
        raise

    def stop() -> None:
        connection.close()
        end()

    return stop


def _exhaust_connections(_fault: Fault, scene: Scene) -> End:
    """Take every connection that is left for others, and keep what becomes free."""
    end = _disturbed(scene)
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    ending = threading.Event()

    def take() -> None:
        while not ending.is_set():
            try:
                taken.append(psycopg.connect(scene.server.url()))
            except psycopg.OperationalError:
                ending.wait(0.01)

    thread = threading.Thread(target=take)
    thread.start()
    # With sessions free for nobody else, those that are there must be thrown out for the limit to matter.
    scene.proxy.cut_all()

    def stop() -> None:
        ending.set()
        thread.join()
        for each in taken:
            each.close()
        end()

    return stop


def _stall_subscribers(_fault: Fault, scene: Scene) -> End:
    mark = scene.directory / "stalled"
    mark.touch()
    return lambda: mark.unlink(missing_ok=True)


def _special(name: str) -> Callable[[Fault, Scene], None]:
    def create(_fault: Fault, scene: Scene) -> None:
        scene.load.want(name)

    return create


_BEGINNINGS: Mapping[FaultKind, Callable[[Fault, Scene], End | None]] = {
    FaultKind.KILL_WORKER: _kill_worker,
    FaultKind.PAUSE_WORKER: _pause_worker,
    FaultKind.FREEZE_WORKER: _freeze_worker,
    FaultKind.KILL_SUPERVISOR: _kill_supervisor,
    FaultKind.PAUSE_SUPERVISOR: _pause_supervisor,
    FaultKind.TERM_SUPERVISOR: _term_supervisor,
    FaultKind.HUP: _hup,
    FaultKind.ADD_WORKER: _add_worker,
    FaultKind.STOP_SERVER_FAST: _stop_server("fast"),
    FaultKind.STOP_SERVER_IMMEDIATE: _stop_server("immediate"),
    FaultKind.CRASH_BACKEND: _crash_backend,
    FaultKind.TERMINATE_SESSIONS: _terminate_sessions,
    FaultKind.CUT_ALL: _cut_all,
    FaultKind.CUT_ONE: _cut_one,
    FaultKind.DELAY: _delay,
    FaultKind.SILENCE_ALL: _silence_all,
    FaultKind.SILENCE_ONE: _silence_one,
    FaultKind.READ_ONLY: _read_only,
    FaultKind.LOCK_STEPS: _lock_steps,
    FaultKind.EXHAUST_CONNECTIONS: _exhaust_connections,
    FaultKind.STALL_SUBSCRIBERS: _stall_subscribers,
    FaultKind.POISON: _special("poison"),
    FaultKind.EXIT: _special("exit"),
    FaultKind.HOLD_INTERPRETER: _special("hold"),
    FaultKind.OVERRUN: _special("overrun"),
    FaultKind.FILL_MEMORY: _special("grow"),
    FaultKind.KEEP_MEMORY: _special("keep"),
    FaultKind.HANG_PUBLISHER: _special("hanging"),
}


def length_s(fault: Fault) -> float:
    """After how many seconds a fault that has an end is ended."""
    return _FREEZE_S if fault.kind is FaultKind.FREEZE_WORKER else fault.duration_s
