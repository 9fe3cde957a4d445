"""Whether more of something makes each step dearer: steps in backlog, namespaces, bytes of a payload, steps of a task.

Tasks are created by a client in its own transactions while no worker runs; what counts is the rate of the first steps
that workers finish then, so that a backlog stays one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from peers.peer import wait
from peers.place import Place, place
from system import home_directory, running

from tasker_actors import TaskRequest
from tasker_actors.client.transaction import TransactionClient

BACKLOGS = (10_000, 100_000, 1_000_000)
COUNTED = 10_000
NAMESPACES = (1, 10, 1_000)
PAYLOAD_KB = (0.1, 10, 500)
DAG_STEPS = (4, 100, 1_000)
BATCH = 1_000

_FIRST = """
SELECT count(*), extract(epoch FROM max(finished_at) - min(finished_at))
FROM (SELECT finished_at FROM tasker.step_attempts ORDER BY finished_at LIMIT %s) f
"""
_DONE = "SELECT count(*) >= %s FROM (SELECT FROM tasker.step_attempts LIMIT %s) f"


def run(_rounds: int) -> dict[str, list[float]]:
    """Measure each size once, the smallest of a kind twice: before and after the others, for what the machine does."""
    figures: dict[str, list[float]] = {}
    for backlog in (*BACKLOGS, BACKLOGS[0]):
        _note(figures, f"backlog_{backlog}", _rate(single(1), ["n0/single"], backlog, {}, COUNTED))
    for count in (*NAMESPACES, NAMESPACES[0]):
        names = [f"n{number}/single" for number in range(count)]
        _note(figures, f"namespaces_{count}", _rate(single(count), names, COUNTED, {}, COUNTED))
    for kb in (*PAYLOAD_KB, PAYLOAD_KB[0]):
        tasks = 400 if kb > 100 else COUNTED
        _note(
            figures, f"payload_{kb:g}_kb", _rate(single(1), ["n0/single"], tasks, {"text": "x" * int(kb * 1000)}, tasks)
        )
    for steps in (*DAG_STEPS, DAG_STEPS[0]):
        _note(
            figures,
            f"dag_{steps}_steps",
            _rate(wide(steps), ["n0/wide"], COUNTED // steps, {}, COUNTED // steps * steps),
        )
    return figures


def _note(figures: dict[str, list[float]], name: str, rate: float) -> None:
    figures.setdefault(f"{name}_steps_per_s", []).append(rate)


def single(namespaces: int) -> dict[str, str]:
    """A template of one step in each of so many namespaces, by file name."""
    step = "  - {name: only, handler: {callable: bench.nothing}}"
    head = "name: single\nversion: 1.0.0\nsteps:\n"
    return {f"n{number}.yaml": f"namespace_name: n{number}\n{head}{step}\n" for number in range(namespaces)}


def wide(steps: int) -> dict[str, str]:
    """A template of a first step, many beside each other, and a last one that waits for all."""
    middle = [f"m{number}" for number in range(steps - 2)]
    lines = ["name: wide", "namespace_name: n0", "version: 1.0.0", "steps:"]
    lines.append("  - {name: first, handler: {callable: bench.nothing}}")
    lines += [f"  - {{name: {name}, dependencies: [first], handler: {{callable: bench.nothing}}}}" for name in middle]
    lines.append(f"  - {{name: last, dependencies: [{', '.join(middle)}], handler: {{callable: bench.nothing}}}}")
    return {"wide.yaml": "\n".join(lines) + "\n"}


def _rate(templates: dict[str, str], names: Sequence[str], tasks: int, context: dict[str, Any], counted: int) -> float:
    """Create so many tasks, then start two workers: steps a second of the first that they finish."""
    with home_directory() as home, place(home) as here:
        directory = home / "templates"
        directory.mkdir()
        for name, text in templates.items():
            (directory / name).write_text(text)
        url = here.database("growth")
        with _workers(here, url, directory):
            pass  # makes the tables and registers the templates
        with psycopg.connect(url, autocommit=True) as connection:
            _create(connection, names, tasks, context)
            connection.execute("VACUUM ANALYZE")
            with _workers(here, url, directory):
                wait(lambda: connection.execute(_DONE, (counted, counted)).fetchone() == (True,))
            count, seconds = connection.execute(_FIRST, (counted,)).fetchone() or (0, 1)
            return int(count) / float(seconds)


def _create(connection: psycopg.Connection[Any], names: Sequence[str], tasks: int, context: dict[str, Any]) -> None:
    client = TransactionClient(connection)
    batch = min(BATCH, max(1, 2_000_000 // (len(str(context)) + 1)))
    for start in range(0, tasks, batch):
        numbers = range(start, min(start + batch, tasks))
        client.create_tasks([TaskRequest(names[number % len(names)], context) for number in numbers])


@contextmanager
def _workers(here: Place, url: str, templates: Path) -> Iterator[None]:
    home = here.home / "supervisor"
    home.mkdir(exist_ok=True)
    with running(home, variables={"DATABASE_URL": url}, templates=templates):
        yield
