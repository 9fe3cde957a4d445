"""What is kept of a slice of a step's work."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import orjson
import pytest
from support.dynamic import slice_done
from support.leases import MIB

from tasker_actors.events.json_size import stored_bytes
from tasker_actors.workflow.checkpoint import asks_to_yield, next_checkpoint
from tasker_actors.workflow.outcome_fault import OutcomeFault

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def made(result, previous=None, max_history=100, max_bytes=MIB):
    place = "step 'a' of template shop/work"
    return next_checkpoint(result, previous, place=place, moment=NOON, max_history=max_history, max_bytes=max_bytes)


def checkpoint(result, previous=None, **limits):
    return orjson.loads(made(result, previous, **limits))


def test_only_the_mark_in_the_metadata_makes_a_success_a_slice():
    assert asks_to_yield(slice_done(1).metadata)
    assert not asks_to_yield({})
    assert not asks_to_yield({"checkpoint_yield": "yes"})


def test_a_checkpoint_says_where_the_work_goes_on_and_what_came_of_it():
    assert checkpoint(slice_done({"page": 3}, 75, [1]).result) == {
        "cursor": {"page": 3},
        "items_processed": 75,
        "accumulated_results": [1],
        "timestamp": "2026-03-01T12:00:00.000000Z",
        "history": [{"cursor": {"page": 3}, "timestamp": "2026-03-01T12:00:00.000000Z"}],
    }


def test_the_history_has_the_newest_cursors_only():
    found = None
    for cursor in range(5):
        found = checkpoint(slice_done(cursor).result, found, max_history=3)
    assert [one["cursor"] for one in found["history"]] == [2, 3, 4]
    assert found["accumulated_results"] is None


def test_the_history_has_as_many_cursors_as_there_is_room_for_and_forgets_the_oldest_first():
    found, sizes = None, []
    for number in range(200):
        document = made(slice_done(f"{number:03d}{'x' * 997}").result, found, max_bytes=10_500)
        found = orjson.loads(document)
        sizes.append(len(document))
    assert [one["cursor"][:3] for one in found["history"]] == [f"{number:03d}" for number in range(192, 200)]
    assert found["cursor"].startswith("199")
    assert max(sizes) <= 10_500


@pytest.mark.parametrize("cursor", ["x" * 50, [1e300], {"page": "ä" * 30}])
def test_a_checkpoint_has_its_room_to_the_last_byte(cursor):
    previous = checkpoint(slice_done(cursor).result, checkpoint(slice_done(cursor).result))
    sizes = {}
    for room in range(100, 2_000):
        with contextlib.suppress(OutcomeFault):
            document = made(slice_done(cursor).result, previous, max_bytes=room)
            assert stored_bytes(document) <= room
            sizes.setdefault(len(orjson.loads(document)["history"]), (stored_bytes(document), room))
    assert list(sizes) == [0, 1, 2, 3]
    assert all(size == room for size, room in sizes.values())


def test_only_a_checkpoint_that_is_too_large_by_itself_is_refused():
    assert checkpoint(slice_done("x" * 600_000).result)["history"] == []
    with pytest.raises(OutcomeFault, match=r"has 1048\d{3} bytes of JSON, at most 1048576.*max_checkpoint_bytes"):
        checkpoint(slice_done("x" * MIB).result)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"type": "checkpoint_yield", "items_processed": 1}, "result.cursor: is missing"),
        ({"type": "checkpoint_yield", "cursor": 1}, "result.items_processed: is missing"),
        (
            {"type": "checkpoint_yield", "cursor": 1, "items_processed": -1},
            "must be a whole number of at least 0, not -1",
        ),
        ({"cursor": 1, "items_processed": 1}, "result.type: is missing"),
        ({"type": "checkpoint", "cursor": 1}, "result.type: must be one of checkpoint_yield"),
        (None, "result: must be a mapping, not None"),
    ],
)
def test_anything_else_is_refused(result, words):
    with pytest.raises(OutcomeFault) as caught:
        checkpoint(result)
    assert words in str(caught.value)
    assert caught.value.error_type == "invalid_checkpoint"
