"""The StatsActor in a real actor system, over the memory of a worker."""

import time

import pytest

from tasker_actors.actors import ActorSystem
from tasker_actors.messages import ReportEventStats, ReportFigures, WorkerAttached
from tasker_actors.stats.actor import StatsActor
from tasker_actors.stats.block import create_block
from tasker_actors.stats.book import StatsBook
from tasker_actors.telemetry.lost_lines import LostLines
from tasker_actors.telemetry.metrics import STEPS_CLAIMED


@pytest.fixture
def path(tmp_path):
    return create_block(tmp_path, slot=0, incarnation=1, executors=1)


@pytest.fixture
def stats():
    system = ActorSystem("supervisor")
    yield system.start("stats", lambda: StatsActor(StatsBook(), "supervisor-1", LostLines()))
    system.stop_all((), time.monotonic() + 5)


def test_what_a_worker_has_counted_is_in_the_very_next_answer(stats, writer, reader):
    """No report is on its way and no interval passes (SPEC 3, visible within 500 ms): the answer reads the memory."""
    stats.tell(WorkerAttached(0, 1, 17, reader))
    claimed = writer.counter(STEPS_CLAIMED, ("shop", "charge"))
    for expected in range(1, 4):
        claimed.add()
        figures = stats.ask(ReportFigures(), 10)
        assert figures.counters[STEPS_CLAIMED] == {("shop", "charge"): expected}


def test_a_worker_has_one_name_in_the_document_of_its_figures(stats, writer, reader):
    stats.tell(WorkerAttached(0, 1, 17, reader))

    document = stats.ask(ReportEventStats(), 10)

    assert document["worker_id"] == "supervisor-1"
    assert [row["worker_id"] for row in document["workers"]] == ["worker-17"]
