"""How entries become batches, and what is stored instead of one that PostgreSQL refuses (DESIGN 3 rule 7)."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.leases import AGAIN, DONE, MIB, event, finish, leased, publication, returned

from tasker_actors.delivery.batch import batch_json, cut, fallbacks
from tasker_actors.delivery.routing import commit_item
from tasker_actors.messages import CommitItem
from tasker_actors.workflow.outcome import StepFailure, StepSuccess


def sized(size: int) -> CommitItem:
    return CommitItem({}, size, 0, None, None)


def document(*items: CommitItem):
    return orjson.loads(batch_json(items, worker_id=7, seq=3, lease_ms=30_000, places=5, max_continued_bytes=1000))


# Cutting


def test_300_results_of_1_mib_are_cut_into_batches_of_at_most_4_mib():
    batches = list(cut([sized(MIB)] * 300, 300, 4 * MIB))

    assert [len(batch) for batch in batches] == [3] * 100


def test_small_results_are_cut_by_count():
    assert [len(batch) for batch in cut([sized(100)] * 650, 300, 4 * MIB)] == [300, 300, 50]


def test_an_entry_that_is_larger_than_a_batch_goes_alone():
    batches = list(cut([sized(10), sized(64 * MIB), sized(10)], 300, 4 * MIB))

    assert [[item.size for item in batch] for batch in batches] == [[10], [64 * MIB], [10]]


def test_of_nothing_there_is_no_batch():
    assert list(cut([], 300, MIB)) == []


@given(st.lists(st.integers(0, 10_000)), st.integers(1, 10), st.integers(1, 20_000))
def test_cutting_keeps_every_entry_in_order_and_every_limit(sizes, max_count, max_bytes):
    items = [sized(size) for size in sizes]
    batches = list(cut(items, max_count, max_bytes))

    assert [item for batch in batches for item in batch] == items
    assert all(0 < len(batch) <= max_count for batch in batches)
    assert all(len(batch) == 1 or sum(item.size for item in batch) <= max_bytes for batch in batches)


def test_the_size_of_an_entry_is_that_of_its_result_its_events_and_its_dead_letters():
    large = {"text": "x" * 10_000}
    schema = {"type": "object", "required": ["missing"]}
    declared = [event("a.fine"), event("a.strict", schema=schema)]

    assert 10_000 < commit_item(finish(leased(), StepSuccess(large))).size < 11_000
    assert 20_000 < commit_item(finish(leased(publishes_events=declared[:1]), StepSuccess(large))).size < 22_000
    assert 30_000 < commit_item(finish(leased(publishes_events=declared), StepSuccess(large))).size < 40_000


# The JSON


def test_a_batch_names_its_worker_number_lease_places_and_tasks_once_in_order():
    first, second = leased(), leased()
    beside = leased(task=first.task)
    batch = document(*(commit_item(finish(step)) for step in (second, first, beside)))

    assert {key: batch[key] for key in ("worker", "seq", "lease_ms", "continue")} == {
        "worker": 7,
        "seq": 3,
        "lease_ms": 30_000,
        "continue": 5,
    }
    assert batch["tasks"] == sorted([first.task.task_uuid, second.task.task_uuid])
    assert [result["token"] for result in batch["results"]] == [second.token, first.token, beside.token]


def test_label_sets_are_written_once_and_referred_to_by_number():
    declared = [event("a.one"), event("b.two", "broadcast")]
    batch = document(*(commit_item(finish(leased(publishes_events=declared))) for _ in range(2)))

    assert batch["labels"] == [["shop", "a.one", "durable", "default"], ["shop", "b.two", "broadcast", "default"]]
    assert [[one["label"] for one in result["events"]] for result in batch["results"]] == [[0, 1], [0, 1]]


def test_an_entry_can_be_put_into_a_batch_again():
    item = commit_item(finish(leased(publishes_events=[event()])))

    assert document(item) == document(item)


def test_events_from_outside_a_step_stand_apart_and_lock_no_task():
    batch = document(publication({"n": 1}), returned(leased()))

    assert [one["namespace"] for one in batch["publications"]] == ["shop"]
    assert [one["outcome"] for one in batch["results"]] == ["returned"]
    assert len(batch["tasks"]) == 1


# What is stored instead


def test_first_the_same_result_is_tried_with_its_events_as_dead_letters():
    step = leased(publishes_events=[event("a.one"), event("b.fast", "fast"), event("c.both", "broadcast")])
    item = commit_item(finish(step, StepSuccess({"text": "bad"})))

    instead = next(fallbacks(item, "why \0 not"))
    result = document(instead)["results"][0]

    assert (result["outcome"], result["result"]) == ("complete", {"text": "bad"})
    assert "events" not in result
    assert [one["message"]["event"]["event_name"] for one in result["dead_letters"]] == ["a.one", "c.both"]
    letter = result["dead_letters"][0]["message"]
    assert letter["reason"] == {"code": "refused_by_database", "message": "why \\x00 not", "path": ""}
    assert (letter["payload_repr"], "payload" in letter, "payload" in letter["event"]) == (
        "{'text': 'bad'}",
        False,
        False,
    )


def test_dead_letters_that_an_attempt_has_already_are_kept():
    schema = {"type": "object", "required": ["missing"]}
    item = commit_item(finish(leased(publishes_events=[event("a.strict", schema=schema), event("b.fine")])))

    letters = document(next(fallbacks(item, "no")))["results"][0]["dead_letters"]

    assert [one["message"]["event"]["event_name"] for one in letters] == ["a.strict", "b.fine"]


def test_what_became_a_dead_letter_is_no_longer_among_the_events():
    item = commit_item(finish(leased(publishes_events=[event("a.one"), event("b.fast", "fast")])))

    instead = next(fallbacks(item, "no"))

    assert instead.finished is not None
    assert [one.event_name for one in instead.finished.derived.events] == ["b.fast"]
    assert [(one.event_name, one.code) for one in instead.finished.derived.refused] == [
        ("a.one", "refused_by_database")
    ]


@pytest.mark.parametrize("outcome", [DONE, AGAIN], ids=["success", "failure"])
def test_last_the_step_fails_for_good_without_anything_of_its_own(outcome):
    step = leased(publishes_events=[event()])
    *_, last = fallbacks(commit_item(finish(step, outcome)), "bad \ud800 text")
    result = document(last)["results"][0]

    assert (result["token"], result["attempt"], result["outcome"]) == (step.token, 1, "error")
    assert result["error"] == {
        "error_type": "result_refused",
        "error_code": None,
        "message": "PostgreSQL refused the result: bad \\ud800 text",
        "retryable": False,
    }
    assert {"result", "events", "dead_letters"}.isdisjoint(result)
    assert last.finished is not None
    assert (last.finished.state, last.finished.result, last.finished.derived.events) == ("error", None, ())


def test_what_is_told_of_that_step_is_the_failure_that_was_stored():
    *_, last = fallbacks(commit_item(finish(leased())), "no")

    assert last.finished is not None
    assert isinstance(last.finished.outcome, StepFailure)
    assert last.finished.outcome.error_type == "result_refused"


def test_a_result_without_events_has_one_fallback_a_publication_only_its_dead_letter_and_a_return_none():
    assert len(list(fallbacks(commit_item(finish(leased())), "no"))) == 1
    assert [list(one.document) for one in fallbacks(publication({"n": 1}), "no")] == [["namespace", "dead_letters"]]
    assert list(fallbacks(returned(leased()), "no")) == []
