"""What is kept of a slice of a step's work."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.dynamic import slice_done

from tasker_actors.workflow.checkpoint import asks_to_yield, next_checkpoint
from tasker_actors.workflow.outcome_fault import OutcomeFault

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def checkpoint(result, previous=None, max_history=100):
    return next_checkpoint(
        result, previous, place="step 'a' of template shop/work", moment=NOON, max_history=max_history
    )


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
