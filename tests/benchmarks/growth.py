"""Whether more of something makes each step dearer: steps in backlog, namespaces, bytes of a payload, steps of a task.

Tasks are created by a client in its own transactions while no worker runs. What counts is the rate of steps that two
workers finish when they are warm: their first ones, which a worker runs while it meets its templates, do not count, nor
do the last, when executors find nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from peers.peer import wait
from peers.place import Place, place
from system import RunningSystem, home_directory, running

from tasker_actors import TaskRequest
from tasker_actors.client.transaction import TransactionClient

BACKLOGS = (10_000, 100_000, 1_000_000)
NAMESPACES = (1, 10, 1_000)
PAYLOAD_KB = (0.1, 10, 500)
DAG_STEPS = (4, 100, 1_000)
ROUNDS = 3
"""At most: a round takes three minutes, and the largest backlog, which only the first one has, two more."""

_BYTES_AT_ONCE = 2_000_000
_TASKS_AT_ONCE = 1_000

_RATE = """
SELECT count(*) / extract(epoch FROM max(f.finished_at) - min(f.began))
FROM (SELECT finished_at, min(finished_at) OVER () AS began
      FROM (SELECT finished_at FROM tasker.step_attempts ORDER BY finished_at OFFSET %s LIMIT %s) counted) f
WHERE f.finished_at > f.began
"""
_DONE = "SELECT count(*) >= %s FROM (SELECT FROM tasker.step_attempts LIMIT %s) f"
# Whether each worker's commit waits for a row that another transaction has changed.
_COMMITS = """
SELECT coalesce(wait_event = 'transactionid', false) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'tasker worker %commit'
"""


@dataclass(frozen=True, slots=True)
class Load:
    """Tasks that wait for workers: of which steps are run until it counts, so many are counted, and the rest waits."""

    templates: Mapping[str, str]
    names: Sequence[str] = ("n0/single",)
    steps: int = 1
    context: Mapping[str, Any] = field(default_factory=dict)
    warm_up: int = 5_000
    counted: int = 10_000
    waiting: int = 5_000

    def tasks(self) -> int:
        """How many tasks that is."""
        return (self.warm_up + self.counted + self.waiting) // self.steps


def backlog(count: int) -> Load:
    """So many single steps that wait while others are counted."""
    return Load(single(1), waiting=count)


def namespaces(count: int) -> Load:
    """Single steps, in turn of so many namespaces."""
    return Load(single(count), [f"n{number}/single" for number in range(count)])


def payload(kilobytes: float) -> Load:
    """Single steps of tasks with so large a context."""
    load = Load(single(1), context={"text": "x" * int(kilobytes * 1000)})
    return replace(load, warm_up=100, counted=200, waiting=100) if kilobytes > 100 else load


def wide(steps: int) -> Load:
    """Tasks of a first step, many beside each other, and a last one that waits for all."""
    middle = [f"m{number}" for number in range(steps - 2)]
    lines = ["name: wide", "namespace_name: n0", "version: 1.0.0", "steps:"]
    lines.append("  - {name: first, handler: {callable: bench.nothing}}")
    lines += [f"  - {{name: {name}, dependencies: [first], handler: {{callable: bench.nothing}}}}" for name in middle]
    lines.append(f"  - {{name: last, dependencies: [{', '.join(middle)}], handler: {{callable: bench.nothing}}}}")
    return Load({"wide.yaml": "\n".join(lines) + "\n"}, ("n0/wide",), steps)


def single(count: int) -> dict[str, str]:
    """A template of one step in each of so many namespaces, by file name."""
    step = "  - {name: only, handler: {callable: bench.nothing}}"
    head = "name: single\nversion: 1.0.0\nsteps:\n"
    return {f"n{number}.yaml": f"namespace_name: n{number}\n{head}{step}\n" for number in range(count)}


KINDS: Mapping[str, tuple[Sequence[float], Callable[[Any], Load]]] = {
    "backlog_{}": (BACKLOGS, backlog),
    "namespaces_{}": (NAMESPACES, namespaces),
    "payload_{:g}_kb": (PAYLOAD_KB, payload),
    "dag_{}_steps": (DAG_STEPS, wide),
}


def run(rounds: int) -> dict[str, list[float]]:
    """Measure all sizes of a kind in turns, and each against the smallest of its round."""
    figures: dict[str, list[float]] = {}
    for turn in range(min(rounds, ROUNDS)):
        for name, (sizes, load) in KINDS.items():
            smallest = 0.0
            for size in sizes if turn == 0 else [size for size in sizes if size != max(BACKLOGS)]:
                rate, waited = _measure(load(size))
                smallest = smallest or rate
                figures.setdefault(f"{name.format(size)}_steps_per_s", []).append(rate)
                if size != sizes[0]:
                    figures.setdefault(f"{name.format(size)}_to_smallest", []).append(rate / smallest)
                if load is wide:
                    figures.setdefault(f"{name.format(size)}_waited_percent", []).append(waited)
    return figures


def _measure(load: Load) -> tuple[float, float]:
    """Return steps a second, and of the time of commits the percentage in which one waits for the other worker's."""
    samples: list[bool] = []
    with loaded(load) as (_, connection):

        def counted() -> bool:
            samples.extend(waits for (waits,) in connection.execute(_COMMITS))
            enough = load.warm_up + load.counted
            return connection.execute(_DONE, (enough, enough)).fetchone() == (True,)

        wait(counted)
        (rate,) = connection.execute(_RATE, (load.warm_up, load.counted)).fetchone() or (0.0,)
    return float(rate), 100 * sum(samples) / len(samples)


@contextmanager
def loaded(load: Load) -> Iterator[tuple[RunningSystem, psycopg.Connection[Any]]]:
    """Create the tasks of a load on a server of its own, then start two workers; both end with the block."""
    with home_directory() as home, place(home) as here:
        directory = home / "templates"
        directory.mkdir()
        for name, text in load.templates.items():
            (directory / name).write_text(text)
        url = here.database("growth")
        with _workers(here, url, directory):
            pass  # makes the tables and registers the templates
        with psycopg.connect(url, autocommit=True) as connection:
            _create(connection, load)
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
            with _workers(here, url, directory) as system:
                yield replace(system, home=home), connection


def _create(connection: psycopg.Connection[Any], load: Load) -> None:
    client = TransactionClient(connection)
    at_once = min(_TASKS_AT_ONCE, max(1, _BYTES_AT_ONCE // (len(str(load.context)) * load.steps)))
    for start in range(0, load.tasks(), at_once):
        numbers = range(start, min(start + at_once, load.tasks()))
        client.create_tasks([TaskRequest(load.names[number % len(load.names)], load.context) for number in numbers])


@contextmanager
def _workers(here: Place, url: str, templates: Path) -> Iterator[RunningSystem]:
    home = here.home / "supervisor"
    home.mkdir(exist_ok=True)
    with running(home, variables={"DATABASE_URL": url}, templates=templates) as system:
        yield system
