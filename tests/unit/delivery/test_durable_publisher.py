"""DurablePublisher with a committer in the test's hands: group commit, numbers, bisection, restarts (DESIGN 2; 3 rules 5 to 8, 10)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from support.leases import DONE, event, finish, leased, publication, returned
from support.publishing import Publishing
from support.waiting import until

from tasker_actors.actors import ActorSystem
from tasker_actors.delivery.committer import BatchRefusedError, CommitReply, WorkerFencedError
from tasker_actors.messages import CommitItems
from tasker_actors.steps.ledger import Stage

Answer = Callable[[dict[str, Any]], CommitReply]


def tokens(batch: dict[str, Any]) -> list[int]:
    return [result["token"] for result in batch["results"]]


def everything_won(batch: dict[str, Any]) -> CommitReply:
    return CommitReply(frozenset(tokens(batch)), {}, 0, ())


class Database:
    """Answers batches as the test says, every one it was sent kept in `batches`; closed it lets them wait."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.always: Answer = everything_won
        self.opened = threading.Event()
        self.opened.set()

    def commit(self, batch: bytes) -> CommitReply:
        """Answer one batch."""
        document = orjson.loads(batch)
        self.batches.append(document)
        assert self.opened.wait(10)
        answer = self.always if self.answers.empty() else self.answers.get()
        return answer(document)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    restarts: list[str] = []
    system = ActorSystem("worker-0", on_restart=lambda _actor, reason, _error: restarts.append(reason))
    yield system
    system.stop_all([], time.monotonic() + 5)


@pytest.fixture
def publisher(system: ActorSystem, database: Database) -> Publishing:
    return Publishing(system, database, worker_id=7, max_batch=10)


def refuse(bad: int) -> Answer:
    """Refuse every batch with this step's own result in it."""

    def answer(batch: dict[str, Any]) -> CommitReply:
        if any(result["token"] == bad and "result" in result for result in batch["results"]):
            raise BatchRefusedError("bad")
        return everything_won(batch)

    return answer


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


def test_a_continued_step_is_held_before_its_predecessor_is_let_go(system: ActorSystem, database: Database):
    following = leased()
    lengths = []

    def lease(row: Any, task: Any) -> Any:
        lengths.append((row, task, len(publisher.ledger)))
        return following

    publisher = Publishing(system, database, lease=lease)
    (item,) = publisher.hold(finish(leased()))
    row = {"task_uuid": item.task_uuid, "token": following.token}
    database.answers.put(lambda batch: CommitReply(frozenset(tokens(batch)), {}, 0, [row]))
    publisher.send(item)

    (committed,) = publisher.committed(1)
    assert committed.continued == (following,)
    assert item.finished is not None
    assert lengths == [(row, item.finished.step.task, 1)]
    assert [one.step for one in publisher.ledger.items()] == [following]


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


# Rule 5 and 8: what outlives the actor


def fail(batch: dict[str, Any]) -> CommitReply:
    raise RuntimeError("the actor fails")


def test_a_batch_without_an_answer_is_sent_again_word_for_word_by_the_next_instance(
    publisher: Publishing, database: Database
):
    database.answers.put(fail)
    (item,) = publisher.hold(finish(leased(publishes_events=[event()])))
    publisher.send(item)

    publisher.committed(1)
    first, again = database.batches
    assert first == again
    assert publisher.state.seq == 1


def test_entries_that_were_drained_with_a_failed_batch_are_committed_from_the_ledger(
    publisher: Publishing, database: Database
):
    database.answers.put(fail)
    items = publisher.hold(*(finish(leased()) for _ in range(25)))
    publisher.send(*items)

    commits = publisher.committed(25)
    assert sorted(item.token for one in commits for item in one.won) == [item.token for item in items]
    assert len(publisher.ledger) == 0


def test_entries_that_wait_in_the_mailbox_are_not_committed_twice(publisher: Publishing, database: Database):
    database.opened.clear()
    database.answers.put(fail)
    first, waiting = publisher.hold(finish(leased()), finish(leased()))
    publisher.send(first)
    until(lambda: len(database.batches) == 1)
    publisher.send(waiting)
    database.opened.set()

    publisher.committed(2)
    (following,) = publisher.hold(finish(leased()))
    publisher.send(following)
    publisher.committed(1)
    assert [tokens(batch) for batch in database.batches[1:]] == [[first.token], [waiting.token], [following.token]]


def test_a_batch_that_is_refused_when_it_is_sent_again_is_halved_like_any_other(
    publisher: Publishing, database: Database
):
    items = publisher.hold(*(finish(leased()) for _ in range(3)))
    database.answers.put(fail)
    database.always = refuse(items[1].token)
    publisher.send(*items)

    won = {item.token: item.finished for one in publisher.committed(3) for item in one.won}
    assert [finished.state for finished in won.values() if finished] == ["complete", "error", "complete"]


def test_steps_to_give_back_are_not_forgotten_with_a_failed_instance(publisher: Publishing, database: Database):
    kept = leased()
    publisher.ledger.add([kept])
    publisher.ledger.take_waiting()
    assert [item.stage for item in publisher.ledger.items()] == [Stage.COMMITTING]
    publisher.address.tell("a message that it cannot handle")

    until(lambda: [kept.token] in [tokens(batch)[-1:] for batch in database.batches], timeout_s=5)


def test_a_fenced_worker_says_so_by_failing(database: Database):
    restarts: list[str] = []
    system = ActorSystem("worker-0", on_restart=lambda _actor, reason, _error: restarts.append(reason))
    publisher = Publishing(system, database)

    def fenced(batch: dict[str, Any]) -> CommitReply:
        raise WorkerFencedError

    database.answers.put(fenced)
    publisher.send(*publisher.hold(finish(leased(), DONE)))

    publisher.committed(1)
    assert restarts == ["WorkerFencedError"]
    assert system.stop_all([], time.monotonic() + 5) == ()


def test_several_entries_of_one_message_stay_in_order(publisher: Publishing, database: Database):
    items = publisher.hold(*(finish(leased()) for _ in range(4)))
    publisher.address.tell(CommitItems(items))

    publisher.committed(4)
    assert tokens(database.batches[0]) == [item.token for item in items]
