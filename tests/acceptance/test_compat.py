"""Modules as tasker-py's users write them run on a real supervisor, by the program behind `scripts/compat`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from compat.cases import CASES, both
from compat.checkout import Checkout
from compat.expectations import (
    all_complete,
    attempts_at_least,
    count_of,
    events_counted,
    no_value,
    result,
    result_at_least,
    state,
    steps_are,
)
from compat.report import as_json, as_text
from compat.running import run_cases
from support.tasker_py_checkout import make_checkout

PROGRAM = Path(__file__).parents[1] / "compat"
BOOK, COPIES, OTHERS = "print{dsl}_py/book{dsl}_py", "print{dsl}_py/copies{dsl}_py", "print{dsl}_py/others{dsl}_py"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        status = int(self.path.rpartition("/")[2])
        body = b'{"error": "closed for today"}' if status != 200 else b'{"paper": "A5"}'
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def cases(url: str):
    total = sum(range(40))
    return [
        *both(
            "a thin book",
            BOOK,
            {"pages": 20},
            steps_are("count_pages", "choose", "staple", "finish"),
            all_complete(),
            result("staple", "pages", 20),
            result("finish", "ways", ["staple"]),
            result("finish", "count.pages", 20),
            events_counted(total_routed=1, broadcast_routed=1),
            events=1,
        ),
        *both(
            "a thick book",
            BOOK,
            {"pages": 200},
            steps_are("count_pages", "choose", "glue", "cover", "finish"),
            all_complete(),
            result("glue", "deep", 200),
            result("finish", "ways", ["cover", "glue"]),
        ),
        *both("an empty book", BOOK, {"pages": 0}, steps_are("count_pages", "choose"), all_complete()),
        *both("no book", BOOK, {}, state("count_pages", "error", attempts=1), status="error"),
        *both(
            "copies with a jam",
            COPIES,
            {"copies": 40, "jam_at": 4},
            all_complete(),
            attempts_at_least("plan", 1),
            result("collect", "copies", 40),
            result("collect", "sum", total),
            result_at_least("collect", "worker_count", 2),
            result("collect", "scenario", "with_batches"),
        ),
        *both(
            "no copies",
            COPIES,
            {"copies": 0},
            count_of("print", 1),
            all_complete(),
            result("collect", "scenario", "no_batches"),
            no_value("collect", "sum"),
        ),
        *both(
            "what else there is",
            OTHERS,
            {"url": f"{url}/200"},
            all_complete(),
            result("fetch", "paper", "A5"),
            result("press", "size", "70"),
        ),
        *both(
            "a server that refuses", OTHERS, {"url": f"{url}/403"}, state("fetch", "error", attempts=1), status="error"
        ),
    ]


@pytest.mark.timeout(170)  # a new database and twenty tasks, on a machine that may be busy
def test_modules_for_tasker_py_run_to_what_is_expected(tmp_path: Path, url: str) -> None:
    checkout = Checkout(make_checkout(tmp_path / "checkout"))
    wrong = both("wrong on purpose", BOOK, {"pages": 1}, steps_are("nothing"), status="cancelled")[:1]
    lines: list[str] = []

    report = run_cases(checkout, [*cases(url), *wrong, CASES[0]], workers=1, note=lines.append)

    *fine, expected_wrong, refused = report.findings
    assert [finding for finding in fine if finding.complaints] == []
    assert expected_wrong.complaints[:2] == ("the task is complete, not cancelled", "not so: steps are nothing")
    assert refused.status == "refused"
    assert (report.templates, report.load_errors, report.is_fine) == (6, [], False)
    assert lines[0] == "6 templates load, 0 do not"

    document = json.loads(as_json(report))
    assert not document["as_expected"]
    assert document["examples"][0]["steps"]["staple_py"] == "complete"
    assert "16 of 18 as expected" in as_text(report)
    assert "NOT AS EXPECTED" in as_text(report)


def test_readme_says_how_many_examples_there_are() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

    assert f"{len(CASES) // 2} tasks in each of both styles" in " ".join(readme.split())


def test_a_path_that_is_no_checkout_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )

    assert done.returncode == 2
    assert f"{tmp_path} has no tests/fixtures/task_templates/python: give a checkout" in done.stderr
