"""DurablePublisher with a database that the test plays: group commit, bisection, continuation, wake-ups.

DESIGN 2 (group commit), and of DESIGN 3 rule 6, 7, 10 and 11.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.exporting import Lines
from support.leases import event, finish, leased, publication, returned, sampled_task
from support.publishing import Database, Publishing, everything_won, refuse, tokens
from support.waiting import until

from tasker_actors.actors import ActorSystem
from tasker_actors.delivery.batch import MAX_BATCH_BYTES
from tasker_actors.delivery.committer import BatchRefusedError, CommitReply
from tasker_actors.messages import CommitItems
from tasker_actors.steps.outflow import events_size
from tasker_actors.telemetry.trace_context import new_trace

# Group commit


def test_alone_a_result_is_committed_at_once(publisher: Publishing, database: Database):
    (item,) = publisher.hold(finish(leased()))
    publisher.send(item)

    (committed,) = publisher.committed(1)
    assert (committed.won, committed.lost) == ((item,), ())
    assert [(batch["worker"], batch["seq"], tokens(batch)) for batch in database.batches] == [(7, 1, [item.token])]


def test_all_that_waits_goes_into_the_next_transaction_up_to_the_limit(publisher: Publishing, database: Database):
    items = publisher.hold(*(finish(leased()) for _ in range(25)))
    database.opened.clear()
    publisher.send(items[0])
    until(lambda: len(database.batches) == 1)
    for item in items[1:]:
        publisher.send(item)
    database.opened.set()

    publisher.committed(25)
    assert [len(tokens(batch)) for batch in database.batches] == [1, 10, 10, 4]
    assert [token for batch in database.batches for token in tokens(batch)] == [item.token for item in items]


def test_commits_are_numbered_one_after_the_other(publisher: Publishing, database: Database):
    publisher.send(*publisher.hold(*(finish(leased()) for _ in range(25))))
    publisher.committed(25)

    assert [batch["seq"] for batch in database.batches] == [1, 2, 3]
    assert publisher.state.seq == 3


def test_a_committed_step_leaves_the_ledger_whether_it_won_or_not(publisher: Publishing, database: Database):
    won, lost = publisher.hold(finish(leased()), finish(leased()))
    database.answers.put(lambda _batch: CommitReply(frozenset([won.token]), {}, 0, ()))
    publisher.send(won, lost)

    (committed,) = publisher.committed(2)
    assert (committed.won, committed.lost) == ((won,), (lost,))
    assert len(publisher.ledger) == 0
    assert publisher.ledger.emptied.is_set()


def test_an_entry_that_is_held_no_longer_is_not_sent(publisher: Publishing, database: Database):
    gone, held = publisher.hold(finish(leased()), finish(leased()))
    publisher.ledger.remove([gone.token])
    publisher.send(gone, held)

    publisher.committed(1)
    assert [tokens(batch) for batch in database.batches] == [[held.token]]


def test_steps_that_are_given_back_and_outside_events_go_with_the_results(publisher: Publishing, database: Database):
    step = leased()
    publisher.ledger.add([step])
    publisher.ledger.take_waiting()
    outside = publication({"n": 1})
    (result,) = publisher.hold(finish(leased()))
    publisher.send(returned(step), outside, result)

    (committed,) = publisher.committed(3)
    assert [item.token for item in committed.won] == [step.token, 0, result.token]
    assert [one["outcome"] for one in database.batches[0]["results"]] == ["returned", "complete"]
    assert len(publisher.ledger) == 0


# Rule 6: hand over only after the server said that it is ready


def test_nothing_is_told_to_anybody_before_the_database_answered(publisher: Publishing, database: Database):
    database.opened.clear()
    (item,) = publisher.hold(finish(leased()))
    publisher.send(item)
    until(lambda: len(database.batches) == 1)

    assert (publisher.heard.empty(), publisher.released, publisher.state.seq) == (True, [], 0)
    assert publisher.ledger.get(item.token) is not None
    database.opened.set()
    publisher.committed(1)


# Rule 10: continuation


def test_it_offers_the_places_that_are_free_once_the_batch_is_done(publisher: Publishing, database: Database):
    publisher.ledger.add(leased() for _ in range(3))
    publisher.send(*publisher.hold(finish(leased()), finish(leased())))

    publisher.committed(2)
    assert database.batches[0]["continue"] == 8 - 3


def test_outside_events_in_a_batch_make_no_places(publisher: Publishing, database: Database):
    publisher.ledger.add(leased() for _ in range(3))
    publisher.send(*publisher.hold(finish(leased())), publication(), publication())

    publisher.committed(3)
    assert database.batches[0]["continue"] == 8 - 3


def test_a_draining_worker_continues_nothing(publisher: Publishing, database: Database):
    publisher.capacity.closed = True
    publisher.send(*publisher.hold(finish(leased())))

    publisher.committed(1)
    assert database.batches[0]["continue"] == 0


def test_while_too_many_events_are_on_their_way_nothing_is_continued(publisher: Publishing, database: Database):
    publisher.ledger.outflow.add(16 * 1024 * 1024)
    publisher.send(*publisher.hold(finish(leased())))

    publisher.committed(1)
    assert database.batches[0]["continue"] == 0


def test_what_was_committed_is_on_its_way_until_the_router_has_it(publisher: Publishing, database: Database):
    result = finish(leased(publishes_events=[event("a.b", "fast")]))
    publisher.send(*publisher.hold(result))

    publisher.committed(1)
    assert publisher.ledger.outflow.bytes == events_size(result.derived.events)
    publisher.ledger.outflow.routed()
    assert publisher.ledger.outflow.bytes == 0


def test_a_continued_step_is_held_before_its_predecessor_is_let_go(system: ActorSystem, database: Database):
    following = leased()
    lengths = []

    def lease(row: Any, task: Any) -> Any:
        lengths.append((row, task, len(publishing.ledger)))
        return following

    publishing = Publishing(system, database, lease=lease)
    (item,) = publishing.hold(finish(leased()))
    row = {"task_uuid": item.task_uuid, "token": following.token}
    database.answers.put(lambda batch: CommitReply(frozenset(tokens(batch)), {}, 0, [row]))
    publishing.send(item)

    (committed,) = publishing.committed(1)
    assert committed.continued == (following,)
    assert item.finished is not None
    assert lengths == [(row, item.finished.step.task, 1)]
    assert [one.step for one in publishing.ledger.items()] == [following]


# Rule 11: wake-ups only for what was released and not continued


def test_others_are_woken_for_what_was_released_and_only_after_the_commit(publisher: Publishing, database: Database):
    database.answers.put(lambda batch: CommitReply(frozenset(tokens(batch)), {}, 2, ()))
    publisher.send(*publisher.hold(finish(leased())))
    publisher.committed(1)
    until(lambda: publisher.released == [("shop",)])

    publisher.send(*publisher.hold(finish(leased())))
    publisher.committed(1)
    assert publisher.released == [("shop",)]


# Rule 7: one bad entry costs itself


@pytest.mark.parametrize("place", range(7))
def test_a_refused_batch_is_halved_until_the_culprit_is_alone(publisher: Publishing, database: Database, place: int):
    items = publisher.hold(*(finish(leased()) for _ in range(7)))
    bad = items[place].token
    database.always = refuse(bad)
    publisher.send(*items)

    commits = publisher.committed(7)
    stored = [result for batch in database.batches for result in batch["results"] if result["token"] == bad]
    assert stored[-1]["error"]["error_type"] == "result_refused"
    assert sorted(item.token for one in commits for item in one.won) == [item.token for item in items]
    assert publisher.state.seq == len(commits)
    assert len(publisher.ledger) == 0


def test_a_line_about_a_refused_entry_has_the_ids_of_its_own_task(
    publisher: Publishing, database: Database, lines: Lines
):
    """Whichever task the message was about that brought it, and whatever the entry is."""
    items = publisher.hold(*(finish(leased(task=sampled_task())) for _ in range(3)))
    step = leased(task=sampled_task())
    publisher.ledger.add([step])
    publisher.ledger.take_waiting()
    failures: list[BaseException] = []
    outside = publication(reply=SimpleNamespace(fail=failures.append))

    def answer(batch: dict[str, Any]) -> CommitReply:
        if batch["publications"] or step.token in tokens(batch):
            raise BatchRefusedError("bad")
        return refuse(items[-1].token)(batch)

    database.always = answer
    batch = CommitItems((*items, returned(step), outside))
    publisher.address.tell(batch, trace=new_trace(), correlation_id="another")
    until(lambda: bool(failures))

    found = [
        (line["event"], line["correlation_id"], line["trace_id"], line["span_id"]) for line in lines.lines("tests")
    ]
    refused, lost = "PostgreSQL refused an entry", "an entry could not be stored in any form"
    assert found == [
        (sentence, one.correlation_id, one.trace.trace_id, one.trace.span_id)
        for sentence, one in (
            (refused, items[-1].finished),
            (refused, step),
            (lost, step),
            (refused, outside.publication),
            (lost, outside.publication),
        )
        if one is not None
    ]


def test_a_line_about_a_whole_batch_has_nobodys_ids(publisher: Publishing, database: Database, lines: Lines):
    database.always = lambda _batch: CommitReply(frozenset(), {}, 0, ())
    batch = CommitItems(publisher.hold(finish(leased()), finish(leased())))
    publisher.address.tell(batch, trace=new_trace(), correlation_id="another")
    publisher.committed(2)

    (line,) = lines.lines("tests")
    assert line["count"] == 2
    assert not line.keys() & {"correlation_id", "trace_id", "span_id"}


def test_two_culprits_of_one_batch_are_both_found(publisher: Publishing, database: Database):
    items = publisher.hold(*(finish(leased()) for _ in range(8)))
    bad = {items[1].token, items[6].token}

    def answer(batch: dict[str, Any]) -> CommitReply:
        for token in bad:
            refuse(token)(batch)
        return everything_won(batch)

    database.always = answer
    publisher.send(*items)

    won = {item.token: item.finished for one in publisher.committed(8) for item in one.won}
    assert {token for token, finished in won.items() if finished and finished.state == "error"} == bad


def test_an_entry_that_is_more_than_a_value_can_hold_is_never_sent_and_pays_alone(
    publisher: Publishing, database: Database
):
    """PostgreSQL would end the connection of who sends it, and that looks like an outage: for ever."""
    items = publisher.hold(*(finish(leased(publishes_events=[event()])) for _ in range(3)))
    bad = replace(items[1], size=MAX_BATCH_BYTES + 1)
    publisher.send(items[0], bad, items[2])

    publisher.committed(3)
    stored = {result["token"]: result for batch in database.batches for result in batch["results"]}
    assert {len(stored[item.token]["events"]) for item in (items[0], items[2])} == {1}
    assert "events" not in stored[bad.token]
    (letter,) = stored[bad.token]["dead_letters"]
    assert str(MAX_BATCH_BYTES + 1) in letter["message"]["reason"]["message"]


def test_an_entry_that_cannot_be_written_pays_alone(publisher: Publishing, database: Database):
    items = publisher.hold(*(finish(leased()) for _ in range(3)))
    bad = replace(items[1], document=items[1].document | {"result": object()})
    publisher.send(items[0], bad, items[2])

    publisher.committed(3)
    outcomes = {result["token"]: result["outcome"] for batch in database.batches for result in batch["results"]}
    assert [outcomes[item.token] for item in items] == ["complete", "error", "complete"]


def test_an_entry_that_cannot_be_stored_in_any_form_is_let_go(publisher: Publishing, database: Database):
    (item,) = publisher.hold(finish(leased(publishes_events=[event()])))

    def answer(batch: dict[str, Any]) -> CommitReply:
        if item.token in tokens(batch):
            raise BatchRefusedError("always")
        return everything_won(batch)

    database.always = answer
    publisher.send(item)
    publisher.send(*publisher.hold(finish(leased())))

    publisher.committed(1)
    assert len(publisher.ledger) == 0
    assert {batch["seq"] for batch in database.batches} == {1}


def test_several_entries_of_one_message_stay_in_order(publisher: Publishing, database: Database):
    items = publisher.hold(*(finish(leased()) for _ in range(4)))
    publisher.address.tell(CommitItems(items))

    publisher.committed(4)
    assert tokens(database.batches[0]) == [item.token for item in items]


# Leases that a commit ended


def test_handlers_of_cancelled_leases_hear_of_it_here_and_elsewhere(publisher: Publishing, database: Database):
    item, other = publisher.hold(finish(leased()), finish(leased()))
    database.answers.put(lambda batch: replace(everything_won(batch), cancelled=((other.token, 7), (99, 8))))

    publisher.send(item)

    publisher.committed(1)
    until(lambda: publisher.cancelled == [99])
    held = publisher.ledger.get(other.token)
    assert held is not None
    assert held.cancelled
