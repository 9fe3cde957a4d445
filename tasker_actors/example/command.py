"""The command `tasker-actors example`: a supervisor and its database from nothing, one day of flights, a report."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.output import note, progress_bar, write_json
from tasker_actors.errors import StartupError, TaskerError
from tasker_actors.example import flight_data
from tasker_actors.example.day import Day
from tasker_actors.example.durable_queue import DurableQueue, open_queue
from tasker_actors.example.expected import differences
from tasker_actors.example.figures import Task, step_counts, task_counts
from tasker_actors.example.flight_trace import most_delayed, trace_flight
from tasker_actors.example.home import kept_home, temporary_home
from tasker_actors.example.interruption import Interrupted, Interruption, interruptible
from tasker_actors.example.log_file import delays_counted
from tasker_actors.example.report import write_report
from tasker_actors.example.result import Counts, Place, Result
from tasker_actors.example.supervisor import ExampleSupervisor
from tasker_actors.postgres.embedded import running_url
from tasker_actors.settings import load_settings

_INTERRUPTED = 130
_DIFFERENT = 1
_SETTLED_S = 2.0
_POLL_S = 0.05


def run_example(*, keep: bool, as_json: bool, workers: int) -> int:
    """Run the worked example and print what happened; returns the exit code, 1 if a number is not the expected one.

    Blocks until it is done; for the main thread. INT, TERM and HUP stop everything in order: INT returns 130, the
    others 0, as they do for a supervisor. With `keep` the supervisor goes on when the example is done, and its database
    stays in any case; without it nothing is left running, however this process ends. Raises TaskerError if there is no
    result.
    """
    contexts = _contexts()
    try:
        with ExitStack() as stack:
            interruption = stack.enter_context(interruptible())
            home = kept_home(load_settings().home) if keep else stack.enter_context(temporary_home())
            supervisor = stack.enter_context(_running(home, interruption, workers=workers, keep=keep))
            result = _run(contexts, supervisor)
    except Interrupted as interrupted:
        note(f"stopped by {interrupted.number.name} before the end")
        return _INTERRUPTED if interrupted.number is signal.SIGINT else 0
    if as_json:
        write_json(result.document(keep=keep))
    else:
        write_report(result, keep=keep)
    wrong = differences(result.counts.document(), lost_worker=result.counts.figures.lost_worker)
    for line in wrong:
        note(f"not as expected: {line}")
    return _DIFFERENT if wrong else 0


def _contexts() -> Sequence[flight_data.Row]:
    try:
        return flight_data.flights()
    except FileNotFoundError as error:
        msg = (
            f"the worked example needs the files of the repository, and there is no {error.filename}: "
            "get a clone of it, and run scripts/example there"
        )
        raise StartupError(msg) from error


@contextmanager
def _running(home: Path, interruption: Interruption, *, workers: int, keep: bool) -> Iterator[ExampleSupervisor]:
    """Run a supervisor for the block; it goes on afterwards only with `keep`, and if nothing went wrong."""
    note(f"starting PostgreSQL and {workers} workers in {home}")
    supervisor = ExampleSupervisor(home, workers=workers, keep=keep)
    try:
        yield supervisor
    except BaseException as error:
        interruption.leave(supervisor.terminate)
        code = supervisor.stop()
        if keep:
            note(f"the database stays in {home}; to go on with it: {supervisor.command_line}")
        if isinstance(error, Interrupted) and code:
            raise _ended_badly(supervisor, code) from error
        raise
    if keep:
        supervisor.leave_running()
        return
    interruption.leave(supervisor.terminate)
    code = supervisor.stop()
    if code:
        raise _ended_badly(supervisor, code)


def _ended_badly(supervisor: ExampleSupervisor, code: int) -> TaskerError:
    return TaskerError(f"the supervisor was told to stop and ended with exit code {code}\n{supervisor.last_words()}")


def _run(contexts: Sequence[flight_data.Row], supervisor: ExampleSupervisor) -> Result:
    url = supervisor.wait_until_ready()
    database_url = running_url(supervisor.home)
    if database_url is None:
        msg = f"the supervisor at {url} is ready, and there is no database server in {supervisor.home}"
        raise StartupError(msg)
    note(f"ready at {url}; the log is {supervisor.log}")
    with SupervisorClient(url, None) as client:
        day = Day(client, supervisor, url)
        began = time.monotonic()
        tasks = _fly(day, contexts)
        seconds = time.monotonic() - began
        with open_queue(database_url) as queue:
            counts = _settled(day, tasks, queue, supervisor.log)
            trace = trace_flight(most_delayed(tasks), client, queue)
    place = Place(url, database_url, supervisor.home, supervisor.pid, supervisor.command_line)
    return Result(counts, seconds, trace, place)


def _fly(day: Day, contexts: Sequence[flight_data.Row]) -> list[Task]:
    """Create all tasks and wait for them, with a progress bar on a terminal."""
    with progress_bar() as progress:
        bar = progress.add_task("Flights", total=len(contexts))
        day.create(contexts)
        return day.wait(len(contexts), lambda finished: progress.update(bar, completed=finished))


def _settled(day: Day, tasks: Sequence[Task], queue: DurableQueue, log: Path) -> Counts:
    """Count, and again for 2 s while a number is not right: deliveries go on for a moment after the last commit."""
    deadline = time.monotonic() + _SETTLED_S
    while True:
        counts = Counts(
            tasks=task_counts(tasks),
            steps=step_counts(tasks),
            figures=day.figures(),
            delays=delays_counted(log),
            queue_length=queue.length(),
        )
        right = not differences(counts.document(), lost_worker=False)
        if right or time.monotonic() > deadline:
            return counts
        time.sleep(_POLL_S)
