"""The short form of the chaos runs: every kind of fault at least once, by the command of the long form.

It runs as a process of its own beside these tests, which wait for its parts: no single one of them takes long.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from chaos.schedule import FaultKind, make_schedule
from support.waiting import until

SEED = 48
SECONDS = 62
PAUSE_S = 2.0
OPEN_TASKS = 60
FAULTS_OVER = "no more faults"
DRAINED = "every task is finished"
WAIT_S = 165.0
MOST_S = 300
"""From the first process to the last: what the short form may take, on a machine that is busy too."""


class Running(NamedTuple):
    """The run: its process, and where it says what it does."""

    process: subprocess.Popen[bytes]
    output: Path
    said: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("chaos")
    running = Path(__file__).parent
    schedule = ("--seed", str(SEED), "--minutes", str(SECONDS / 60), "--pause", str(PAUSE_S))
    options = (*schedule, "--workers", "2", "--open-tasks", str(OPEN_TASKS), "--json")
    with (directory / "report.json").open("wb") as output, (directory / "said.txt").open("wb") as said:
        process = subprocess.Popen([sys.executable, str(running), *options], stdout=output, stderr=said)
    yield Running(process, directory / "report.json", directory / "said.txt")
    if process.poll() is None:
        process.terminate()
        process.wait()


def wait_for(run: Running, words: str) -> None:
    """Wait until the run has said this, or has ended."""
    until(lambda: words in run.said.read_text() or run.process.poll() is not None, WAIT_S)
    assert words in run.said.read_text(), run.said.read_text()[-4000:]


def test_the_schedule_has_every_kind_of_fault():
    assert {fault.kind for fault in make_schedule(SEED, SECONDS, pause_s=PAUSE_S)} == set(FaultKind)


@pytest.mark.timeout(WAIT_S + 10)
def test_every_kind_of_fault_finds_its_victim_under_load(run):
    wait_for(run, FAULTS_OVER)


@pytest.mark.timeout(WAIT_S + 10)
def test_every_task_is_finished_when_the_faults_are_over(run):
    wait_for(run, DRAINED)


@pytest.mark.timeout(WAIT_S + 10)
def test_nothing_is_lost_whatever_breaks(run):
    run.process.wait(WAIT_S)
    said = run.said.read_text()[-4000:]
    report = json.loads(run.output.read_text() or "null")
    assert report is not None, said
    assert report["complaints"] == [], said
    assert report["seconds"] < MOST_S, said
    assert run.process.returncode == 0
    # On a slow day a few find no victim, because a supervisor takes long to start.
    assert sum(report["given_up"].values()) <= report["faults_in_all"] / 4, report["given_up"]
    assert set(report["faults"]) == set(FaultKind)
    assert report["work"]["tasks"] > 0
    assert report["work"]["deliveries"] > 0
