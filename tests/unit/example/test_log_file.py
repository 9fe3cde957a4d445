"""What the example finds in its supervisor's log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasker_actors.example.flights import DELAY_COUNTED
from tasker_actors.example.log_file import delays_counted, last_words, ready_url


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "supervisor.log"
    path.touch()
    return path


def write(log: Path, *lines: object) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.writelines(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


def counted(pid: int, carrier: str, delays: int) -> dict[str, object]:
    return {"event": DELAY_COUNTED, "pid": pid, "carrier": carrier, "delays": delays}


def test_the_address_is_there_once_the_supervisor_is_ready(log: Path) -> None:
    write(log, {"event": "Worker ready"})
    assert ready_url(log) is None

    write(log, {"event": "Supervisor ready", "url": "http://127.0.0.1:4711"})
    assert ready_url(log) == "http://127.0.0.1:4711"


def test_the_last_counts_of_all_processes_add_up(log: Path) -> None:
    write(log, counted(1, "UA", 1), counted(2, "UA", 1), counted(1, "UA", 2), counted(2, "B6", 1), counted(1, "UA", 3))

    assert delays_counted(log) == {"UA": 4, "B6": 1}


def test_text_that_is_no_line_of_ours_is_passed_over(log: Path) -> None:
    write(
        log,
        f'{{"event":"{DELAY_COUNTED}","pid":1,"car{{"event":"{DELAY_COUNTED}"}}\n',
        f"Traceback: {DELAY_COUNTED}\n",
        {"event": "something else", "text": DELAY_COUNTED},
        counted(1, "UA", 1),
        f'{{"event":"{DELAY_COUNTED}","pid":1,"carrier":"U',
    )

    assert delays_counted(log) == {"UA": 1}


def test_the_last_words_are_few_and_short(log: Path) -> None:
    write(log, *(f"line {number} {'x' * 1000}\n" for number in range(20)))

    words = last_words(log).splitlines()

    assert [line.split()[1] for line in words] == ["15", "16", "17", "18", "19"]
    assert max(map(len, words)) < 500
