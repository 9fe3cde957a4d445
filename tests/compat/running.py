"""Runs cases on a supervisor of their own with the embedded database, in a directory that is gone afterwards."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from compat.cases import Case
from compat.checkout import ALIAS, HANDLERS, Checkout
from compat.expectations import Outcome, StepOutcome, plain
from psycopg.rows import dict_row
from support.supervised import COMMAND, Supervised
from support.waiting import until

from tasker_actors.postgres.embedded import running_url

TASK_S = 60.0
START_S = 120.0

_STEPS = """
SELECT name, state, attempts, result, error FROM tasker.steps
WHERE task_uuid = %s AND state <> 'undecided' ORDER BY position
"""


class RunError(Exception):
    """The examples cannot be run at all; the message has the end of the supervisor's log."""


@dataclass(frozen=True)
class Finding:
    """What came of one case; `complaints` are empty where it is as expected."""

    case: Case
    status: str
    steps: dict[str, str]
    complaints: tuple[str, ...]


@dataclass
class Report:
    """What came of all; `load_errors` are those of templates in any of the original's languages."""

    templates: int = 0
    load_errors: list[str] = field(default_factory=list)
    load_warnings: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.load_errors and not any(finding.complaints for finding in self.findings)


class _Home:
    """What a supervisor is started with, in place of a user's project; the modules are where the checkout has them."""

    def __init__(self, checkout: Checkout, directory: Path) -> None:
        self.directory = directory
        modules = [word for module in (ALIAS, *HANDLERS) for word in ("--handlers", module)]
        self.arguments = ["--templates", str(checkout.templates), *modules]


def run_cases(checkout: Checkout, cases: Sequence[Case], *, workers: int, note: Callable[[str], object]) -> Report:
    """Load all templates, then run every case; blocks until all is stopped again."""
    report = Report()
    _load(checkout, report)
    note(f"{report.templates} templates load, {len(report.load_errors)} do not")
    with (
        tempfile.TemporaryDirectory(prefix="compat-") as directory,
        _running(checkout, Path(directory), workers) as one,
    ):
        findings: dict[int, Finding] = {}

        def end(case: Case, begun: _Begun) -> None:
            findings[id(case)] = _end(one, case, begun)
            note(f"{case.name} ({case.style}): {findings[id(case)].status}")

        # Those whose events are counted run alone, all others beside each other.
        for case in (case for case in cases if case.events):
            end(case, _begin(one, case, checkout))
        for case, begun in [(case, _begin(one, case, checkout)) for case in cases if not case.events]:
            end(case, begun)
        report.findings = [findings[id(case)] for case in cases]
    return report


def _load(checkout: Checkout, report: Report) -> None:
    done = subprocess.run(
        [COMMAND, "template", "validate", checkout.all_templates, "--environment", "test", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(done.stdout)
    faults = document["faults"]
    report.templates = len(document["templates"])
    report.load_errors = [f"{one['file']}: {one['message']}" for one in faults if one["severity"] == "error"]
    report.load_warnings = len(faults) - len(report.load_errors)


@contextmanager
def _running(checkout: Checkout, directory: Path, workers: int) -> Iterator[Supervised]:
    variables = {
        "PYTHONPATH": str(checkout.package),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TASKER_HOME": str(directory / "home"),
    }
    home: Any = _Home(checkout, directory)  # what of a Project is asked for
    supervised = Supervised(home, "", workers=workers, variables=variables)
    try:
        try:
            supervised.wait_ready(START_S)
        except AssertionError as error:
            msg = f"the supervisor did not start: {error}"
            raise RunError(msg) from error
        supervised.database_url = str(running_url(directory / "home"))
        yield supervised
    finally:
        supervised.close()


@dataclass(frozen=True)
class _Begun:
    """A task that was created, or the answer that refused it, and the counts of events before."""

    task_uuid: str | None
    answer: str
    routed: dict[str, int]


def _begin(supervised: Supervised, case: Case, checkout: Checkout) -> _Begun:
    routed = _routed(supervised) if case.events else {}
    body = {"name": case.template, "namespace": case.namespace, "context": checkout.filled(dict(case.context))}
    answer = supervised.http.post("/v1/tasks", json=body)
    created = answer.status_code == httpx.codes.CREATED
    return _Begun(answer.json()["task_uuid"] if created else None, answer.text, routed)


def _end(supervised: Supervised, case: Case, begun: _Begun) -> Finding:
    if begun.task_uuid is None:
        return Finding(case, "refused", {}, (f"the task was refused: {begun.answer}",))
    try:
        task = supervised.wait(begun.task_uuid, timeout_s=TASK_S)
    except AssertionError:
        task = supervised.task(begun.task_uuid)
    steps = _steps(supervised, begun.task_uuid)
    routed: dict[str, int] = {}
    if case.events:
        _wait_for_counters(supervised, begun.routed, case.events)
        routed = {name: count - begun.routed[name] for name, count in _routed(supervised).items()}
    outcome = Outcome(task["status"], {plain(name): step for name, step in steps.items()}, routed)
    complaints = [] if outcome.status == case.status else [f"the task is {outcome.status}, not {case.status}"]
    complaints += [f"not so: {text}" for text, holds in case.checks if not holds(outcome)]
    complaints += [f"{name}: {step.error}" for name, step in steps.items() if complaints and step.error]
    return Finding(case, outcome.status, {name: step.state for name, step in steps.items()}, tuple(complaints))


def _wait_for_counters(supervised: Supervised, before: dict[str, int], wanted: int) -> None:
    """Counters are visible half a second after the commit at the latest; a case that lacks some says so itself."""
    try:
        until(lambda: _routed(supervised)["total_routed"] - before["total_routed"] >= wanted, 5)
    except AssertionError:
        return


def _routed(supervised: Supervised) -> dict[str, int]:
    router: dict[str, int] = supervised.event_stats()["router"]
    return router


def _steps(supervised: Supervised, task_uuid: str) -> dict[str, StepOutcome]:
    with psycopg.connect(supervised.database_url, autocommit=True, row_factory=dict_row) as connection:
        rows: list[dict[str, Any]] = connection.execute(_STEPS, [task_uuid]).fetchall()
    return {row["name"]: StepOutcome(row["state"], row["attempts"], row["result"], row["error"]) for row in rows}
