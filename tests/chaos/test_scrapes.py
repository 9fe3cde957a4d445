"""The look at the system: what falls or cannot be asked is found, and every process is weighed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from chaos.guardian import Guardian, Life
from chaos.scrapes import Watcher
from support.monotone import monotone
from support.project import Project
from support.supervised import Supervised
from support.waiting import until

EVENTS = {"router": {"total_routed": 1}}
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
"""Waits for a child, and that for the end of its input."""


class Figures(HTTPServer):
    """Answers like a supervisor, but refuses the first requests."""

    refused = asked = 0
    text = "routed_total 1\n"

    def __init__(self, refusals: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.refusals = refusals


class Answer(BaseHTTPRequestHandler):
    server: Figures

    def do_GET(self) -> None:
        is_refused = self.server.refused < self.server.refusals
        self.server.refused += is_refused
        self.server.asked += 1
        body = json.dumps(EVENTS) if self.path == "/metrics/events" else self.server.text
        self.send_response(503 if is_refused else 200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def guardian(tmp_path: Path) -> Guardian:
    return Guardian(Project(tmp_path / "project"), "postgresql://nowhere", workers=1, variables={})


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    with Figures(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def life(guardian: Guardian, figures: Figures) -> Iterator[Life]:
    """A supervisor that is ready, as far as the guardian knows."""
    supervisor = Supervised.__new__(Supervised)
    supervisor.url = f"http://127.0.0.1:{figures.server_port}"
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE) as supervisor.process:
        guardian._ready = Life(4, supervisor)
        yield guardian._ready


@pytest.mark.parametrize("figures", [3], indirect=True)
def test_a_last_look_that_fails_is_repeated(guardian, life, figures):
    watcher = Watcher(guardian)
    assert list(watcher.last_look(life)) == []
    assert figures.refused == 3
    assert watcher.seen[4].counters == {"routed_total": 1}
    assert watcher.seen[4].events == EVENTS


@pytest.mark.parametrize("figures", [10**6], indirect=True)
def test_a_last_look_that_never_succeeds_is_a_complaint(guardian, life):
    watcher = Watcher(guardian)
    assert list(watcher.last_look(life, wait_s=0.1)) == [
        "scrape: supervisor 4, the last one, gave no figures within 0.1 s of quiet"
    ]
    guardian._ready = None
    assert len(list(watcher.last_look(life, wait_s=0.1))) == 1


def test_a_watcher_that_has_ended_by_itself_is_a_complaint(guardian):
    watcher = Watcher(guardian)
    watcher.start()
    assert list(watcher.stop()) == []
    assert list(watcher.stop()) == ["scrape: the thread that looks at the system had ended before the run"]


@pytest.mark.parametrize("figures", [0], indirect=True)
def test_the_supervisor_is_weighed_and_whatever_is_below_it_is_noted(guardian, life):
    watcher = Watcher(guardian)

    def weigh() -> bool:
        watcher.weigh(life)
        return bool(life.processes)

    until(weigh)
    assert [each.ppid() for each in life.processes] == [life.pid]
    ((process, memory),) = watcher.memory.items()
    assert (process.pid, memory.role) == (life.pid, "supervisor")
    assert memory.fresh is not None
    assert memory.peak >= memory.last > 1


@pytest.mark.parametrize("figures", [0], indirect=True)
@pytest.mark.parametrize("text", ["routed_total 0\n", ""], ids=["fell", "vanished"])
def test_counters_that_fell_in_a_block_are_found_also_when_they_have_risen_since(life, figures, text):
    def fall_and_rise() -> None:
        with monotone(life.supervisor):
            risen, figures.text, asked = figures.text, text, figures.asked
            until(lambda: figures.asked > asked + 1)
            figures.text = risen

    with pytest.raises(AssertionError, match="routed_total"):
        fall_and_rise()


@pytest.mark.parametrize("figures", [0], indirect=True)
def test_counters_that_rise_in_a_block_are_fine(life, figures):
    with monotone(life.supervisor):
        figures.text = "routed_total 2\nof_it_total 1\n"
