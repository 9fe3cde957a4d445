"""An outage as the log tells it: when it begins, when it ends, and nothing in between."""

from __future__ import annotations

from typing import Any

import pytest

from tasker_actors.postgres.availability import Availability

BEGIN = "Waiting for the database"
END = "The database answers again"


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def _line(self, sentence: str, **fields: Any) -> None:
        self.lines.append((sentence, fields))

    warning = info = _line

    @property
    def sentences(self) -> list[str]:
        return [sentence for sentence, _ in self.lines]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def availability(log: Log) -> Availability:
    return Availability(log)


def test_an_outage_is_one_line_at_its_begin_and_one_at_its_end_however_often_it_is_tried(
    availability: Availability, log: Log
):
    for _ in range(50):
        availability.failed("commit", "Connection refused")
    assert log.lines == [(BEGIN, {"doing": "commit", "error": "Connection refused"})]

    availability.worked("commit")
    availability.worked("commit")

    assert log.sentences == [BEGIN, END]
    assert log.lines[1][1]["away_s"] >= 0


def test_a_failure_whose_repetition_works_is_no_outage(availability: Availability, log: Log):
    for _ in range(3):
        availability.failed("claim", "terminating connection due to administrator command")
        assert availability.reason is None
        availability.worked("claim")

    assert log.lines == []


def test_it_lasts_until_everybody_is_answered(availability: Availability, log: Log):
    for doing in ("claim", "commit", "claim", "commit"):
        availability.failed(doing, f"{doing} refused")
    assert availability.reason == "claim: claim refused; commit: commit refused"

    availability.worked("claim")
    assert availability.reason == "commit: commit refused"
    availability.worked("listening")
    assert log.sentences == [BEGIN]

    availability.worked("commit")
    assert availability.reason is None
    assert log.sentences == [BEGIN, END]


def test_the_next_outage_is_told_again(availability: Availability, log: Log):
    for _ in range(2):
        availability.failed("claim", "away")
        availability.failed("claim", "away")
        availability.worked("claim")

    assert log.sentences == [BEGIN, END] * 2
