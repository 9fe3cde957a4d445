"""What a new instance of DurablePublisher makes of what the one before it had begun (DESIGN 3 rules 5 and 8)."""

from __future__ import annotations

import time
from typing import Any

from support.leases import DONE, event, finish, leased
from support.publishing import Database, Publishing, refuse, tokens
from support.waiting import until

from tasker_actors.actors import ActorSystem
from tasker_actors.delivery.committer import CommitReply, WorkerFencedError
from tasker_actors.steps.ledger import Stage


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
