"""The checker finds what is wrong: a history in which all is well, and one test for each way in which it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from chaos.checker import Known, check
from chaos.exactness import check_earlier, check_last, check_supervisors
from chaos.history import Attempt, Count, History, Message, Noted, Step, Task, Worker
from chaos.load import Created, Published
from chaos.memory import MARGIN_MB, Memory, memory_complaints
from chaos.report import recovery
from chaos.scrapes import Seen
from chaos.spoiling import change, drop, repeat
from chaos.workload import KILL, ORDINARY, RETRYABLE, SPECIAL

CHAIN = next(each for each in ORDINARY if each.name == "chain")
STEPS = ("one", "two", "three", "four")
VALUES = {"one": 6, "two": 12, "three": 24, "four": 48}
EVENTS = [
    ("one", "chain.one"),
    ("two", "chain.two"),
    ("three", "chain.three"),
    ("four", "chain.four"),
    ("four", "chain.both"),
]


def whole() -> tuple[History, Known]:
    """A chain that completed, an event from outside, and a step that killed its worker three times."""
    chain = Task("t1", "chaos", "chain", "complete", "key-1", "c1", 5, {}, code_events=False)
    pill = Task("t2", "chaos", "poison", "error", "key-2", "c2", 1, {"only": [KILL]}, code_events=False)
    messages = [Message("chaos", f"e-{name}", name, "t1", f"t1-{step}", 1, "c1") for step, name in EVENTS]
    messages += [
        Message("chaos", f"e-{name}", name, "t2", "t2-only", 3, "c2")
        for name in ("poison.failure", "poison.permanent_failure")
    ]
    messages.append(Message("chaos", "e-out", "outside.seen", None, None, None, "c-out"))
    modes = {"chain.two": "broadcast", "chain.both": "broadcast", "poison.failure": "broadcast"}
    history = History(
        tasks=[chain, pill],
        steps=[
            *(Step("t1", f"t1-{name}", name, "complete", 1, False, None, None, VALUES[name], 1) for name in STEPS),
            Step("t2", "t2-only", "only", "error", 3, False, None, None, None, None),
        ],
        attempts=[
            *(Attempt("t1", name, number, 1, "complete", 10, None) for number, name in enumerate(STEPS)),
            Attempt("t2", "only", 10, 1, "lost", 10, "worker_lost"),
            Attempt("t2", "only", 11, 1, "waiting_for_retry", 11, "worker_lost"),
            Attempt("t2", "only", 12, 2, "waiting_for_retry", 12, "worker_lost"),
            Attempt("t2", "only", 13, 3, "error", 13, "worker_lost"),
        ],
        messages=messages,
        counts=[
            Count("s1", "chaos", each.event_name, modes.get(each.event_name, "durable"), "default", 1, 0)
            for each in messages
        ],
        workers=[Worker(number, "s1", 0, number - 9, 1000 + number, alive=False) for number in (10, 11, 12, 13)],
        journal=[
            Noted(1010, "event", "e-chain.two", "chain.two", "t1-two", 1.0),
            Noted(1010, "event", "e-seen", "chain.seen", "t1-two", 1.0),
        ],
    )
    created = {
        "key-1": Created("key-1", CHAIN, {}, "t1"),
        "key-2": Created("key-2", SPECIAL["poison"], {}, "t2"),
    }
    return history, Known(created, [Published("c-out", "outside.seen", answered=True)], {1010})


def test_a_history_in_which_all_is_well_has_no_complaint():
    assert list(check(*whole())) == []


def _second_result(history: History, _known: Known) -> None:
    history.attempts.insert(1, Attempt("t1", "one", 99, 2, "complete", 11, None))


def _nobody_created(_history: History, known: Known) -> None:
    known.created = {key: each for key, each in known.created.items() if key != "key-1"}


def _created_and_lost(_history: History, known: Known) -> None:
    known.created = {**known.created, "key-3": Created("key-3", CHAIN, {}, "t3")}


def _innocent_pays(history: History, _known: Known) -> None:
    """An innocent step is charged for a worker that we did not kill."""
    history.attempts.insert(0, Attempt("t1", "one", 98, 1, "waiting_for_retry", 11, "worker_lost"))
    history.attempts[1] = replace(history.attempts[1], attempt=2)
    history.steps[0] = replace(history.steps[0], attempts=2, result_attempt=2)


def _confirmed_cancel(_history: History, known: Known) -> None:
    known.created["key-1"].cancel = "done"


WRONG: dict[str, tuple[str, Callable[[History, Known], None]]] = {
    "a lost event": ("chain.three of attempt 1 of three of task t1 is 0 times in the queue", drop("messages", 2)),
    "a lost count": ("chain.three: 0 were counted as published, and 1 are there", drop("counts", 2)),
    "a double event": ("event: e-chain.one is 2 times in the queues", repeat("messages", 0)),
    "a double event of another id": (
        "chain.one of attempt 1 of one of task t1 is 2 times",
        lambda history, _: history.messages.append(replace(history.messages[0], event_id="e-other")),
    ),
    "an event that nothing calls for": (
        "chain.never of attempt 1 of step t1-one is there 1 times, and nothing calls",
        change("messages", 0, event_name="chain.never"),
    ),
    "an event of another attempt": (
        "chain.one of attempt 2 of step t1-one is there",
        change("messages", 0, attempt=2),
    ),
    "an event as a dead letter": (
        "chain.one of attempt 1 of one of task t1 is 0 times in the queue and 1 times a dead letter",
        lambda history, _: history.letters.append(history.messages.pop(0)),
    ),
    "an event of another correlation": (
        "e-chain.one has another correlation id",
        change("messages", 0, correlation_id="c2"),
    ),
    "an event from outside that was answered and is lost": (
        "c-out, published over HTTP, is 0 times",
        drop("messages", 7),
    ),
    "an event from outside that came twice": (
        "c-out, published over HTTP, is 2 times",
        lambda history, _: history.messages.append(replace(history.messages[7], event_id="e-again")),
    ),
    "an event from nowhere": ("nobody published them", change("messages", 7, correlation_id="c-nobody")),
    "a lost task": ("the task with the key key-3 was created and is not there", _created_and_lost),
    "a task of nobody": ("nobody created the task with the key key-1", _nobody_created),
    "a task that came twice": ("2 tasks have the idempotency key key-1", change("tasks", 1, key="key-1")),
    "a task that is open": ("is in_progress and not finished", change("tasks", 0, status="in_progress")),
    "a task that failed": ("is error and must be complete", change("tasks", 0, status="error")),
    "a task that nobody cancelled": ("nobody asked for that", change("tasks", 0, status="cancelled")),
    "a cancellation that was forgotten": ("its cancellation was confirmed, and it is complete", _confirmed_cancel),
    "a step that was stranded": ("must be StepEnd(state='complete'", change("steps", 3, state="enqueued", value=None)),
    "a step that is missing": ("3 steps of 4", drop("steps", 0)),
    "a result of other inputs": (
        "must be StepEnd(state='complete', blocked=False, value=24)",
        change("steps", 2, value=25),
    ),
    "a result of another attempt": (
        "its result is of attempt 2, and attempt 1 was committed",
        change("steps", 0, result_attempt=2),
    ),
    "a second result": ("is complete with 2 committed results", _second_result),
    "no result": ("is complete with 0 committed results", drop("attempts", 0)),
    "an attempt too many": (
        "its attempts are [1, 2, 3, 4], of 3 at most",
        lambda history, _: history.attempts.append(Attempt("t2", "only", 14, 4, "error", 14, "worker_lost")),
    ),
    "an attempt that is not counted": ("says 2 attempts, and 3 count", change("steps", 4, attempts=2)),
    "an attempt that failed by itself": (
        "came to waiting_for_retry, handler_error",
        change("attempts", 0, outcome="waiting_for_retry", error_type="handler_error"),
    ),
    "a left lease": (
        "step four of task t1 is still held by worker 10",
        change("steps", 3, state="in_progress", worker_id=10, token=7),
    ),
    "a worker that counts as alive": ("worker 13 counts as alive", change("workers", 3, alive=True)),
    "two steps that pay for one worker": (
        "the end of worker 12 was charged to 2 steps",
        change("attempts", 5, worker_id=12),
    ),
    "an innocent step that pays": ("one of task t1 pays for worker 11, which it did not kill", _innocent_pays),
    "a delivery that came twice": ("event e-seen came 2 times", repeat("journal", 1)),
    "a delivery without its commit": (
        "broadcast event e-other (chain.two) was delivered and is in no queue",
        change("journal", 0, subject="e-other"),
    ),
    "a delivery that nothing calls for": (
        "chain.seen of step t1-three came to a subscriber",
        change("journal", 1, step_uuid="t1-three"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_history_has_its_complaint(name):
    complaint, spoil = WRONG[name]
    history, known = whole()
    spoil(history, known)
    found = list(check(history, known))
    assert [each for each in found if complaint in each], found


def test_a_script_is_followed_attempt_by_attempt():
    history, known = whole()
    history.tasks[0] = replace(history.tasks[0], scripts={"one": [RETRYABLE]})
    assert any("attempt 1 came to complete" in each for each in check(history, known))


# figures

LABELS = 'delivery_mode="durable",event_name="chain.one",namespace="chaos",publisher="default"'
PUBLISHED = f"tasker_domain_events_published_total{{{LABELS}}}"
ROUTER = {"total_routed": 3, "durable_routed": 3, "fast_routed": 0, "broadcast_routed": 0, "routing_errors": 0}
COUNTS = [Count("s1", "chaos", "chain.one", "durable", "default", 3, 0)]


def seen(**router: int) -> Seen:
    found = Seen()
    found.take(f"# HELP x\n{PUBLISHED} 3.0\nsome_gauge 5\n", {"router": {**ROUTER, **router}})
    return found


def test_figures_that_are_exact_have_no_complaint():
    assert list(check_last(seen(), COUNTS)) == []
    assert list(check_earlier(0, seen(), COUNTS)) == []


def test_a_counter_that_falls_or_vanishes_is_found_and_a_gauge_may_fall():
    found = seen()
    found.take(f"{PUBLISHED} 2.0\nsome_gauge 4\n", {"router": ROUTER})
    found.take("some_gauge 4\n", {"router": ROUTER})
    assert found.complaints == [f"{PUBLISHED} fell from 3 to 2", f"{PUBLISHED} was 2 and is gone"]


def test_a_figure_that_is_not_what_was_committed_is_found():
    more = [replace(COUNTS[0], published=4)]
    assert len(list(check_last(seen(), more))) == 2
    assert list(check_earlier(0, seen(), more)) == []
    less = [replace(COUNTS[0], published=2)]
    assert any("showed" in each and "as 3, and 2 were committed" in each for each in check_earlier(0, seen(), less))
    assert any("routing_errors is 1, and 0" in each for each in check_last(seen(routing_errors=1), COUNTS))
    assert any("not the sum" in each for each in check_last(seen(total_routed=4), COUNTS))


def test_a_last_supervisor_that_was_never_scraped_is_found_and_an_earlier_one_may_be():
    supervisors = [(0, "s0"), (1, "s1")]
    assert list(check_supervisors(supervisors, {1: seen()}, COUNTS)) == []
    assert list(check_supervisors(supervisors, {0: Seen()}, COUNTS)) == [
        "scrape: supervisor 1, the last one, was never scraped"
    ]


def test_each_supervisor_is_compared_with_what_its_own_workers_committed():
    more = [*COUNTS, replace(COUNTS[0], supervisor_id="s0", published=2)]
    found = list(check_supervisors([(0, "s0"), (1, "s1")], {0: seen(), 1: seen()}, more))
    assert len(found) == 1
    assert "supervisor 0 showed" in found[0]
    assert len(list(check_supervisors([(0, "s1"), (1, "s0")], {0: seen(), 1: seen()}, more))) == 2


def weighed(role: str, *megabytes: float) -> Memory:
    """A process that was weighed while it booted, and then came to these figures."""
    found = Memory(role)
    found.take(8.0, is_loaded=False)
    for each in megabytes:
        found.take(each)
    return found


def heavy(*living: Memory, gone: Sequence[Memory] = ()) -> list[str]:
    """What is complained of for the processes that are there, numbered from 1, and those that are gone."""
    return list(memory_complaints(list(enumerate(living, 1)), [*gone, *living]))


def test_a_process_that_keeps_its_memory_is_found_and_one_that_gave_it_back_is_not():
    gone = [weighed("worker", 60.0), weighed("worker", 62.0)]
    enough = [weighed("worker", 60.0, 400.0, 60.0 + MARGIN_MB), weighed("supervisor", 80.0, 80.0 + MARGIN_MB)]
    assert heavy(*enough, gone=gone) == []
    kept = [weighed("worker", 61.0, 400.0, 62.0 + MARGIN_MB), weighed("supervisor", 80.0, 81.0 + MARGIN_MB)]
    worker, supervisor = heavy(*kept, gone=gone)
    assert f"worker 1 has {62 + MARGIN_MB} MB with nothing to do, and {61 + MARGIN_MB} MB are enough" in worker
    assert "a fresh one has 61 MB; it had 400 MB at most" in worker
    assert f"supervisor 2 has {81 + MARGIN_MB} MB with nothing to do, and {80 + MARGIN_MB} MB are enough" in supervisor


def test_a_process_that_was_first_seen_late_does_not_excuse_itself():
    late = weighed("worker", 130.0)
    assert len(heavy(late, weighed("supervisor", 80.0), gone=[weighed("worker", 60.0), weighed("worker", 61.0)])) == 1


def test_no_process_may_weigh_more_than_the_promise_however_heavy_a_fresh_one_is():
    (found,) = heavy(weighed("worker", 140.0, 151.0), weighed("supervisor", 149.0))
    assert "the worker 1 has 151 MB with nothing to do, and 150 MB are enough" in found


def test_processes_that_were_not_there_to_be_weighed_are_missed():
    assert heavy() == [
        "memory: no worker was there to be weighed at the end",
        "memory: no supervisor was there to be weighed at the end",
    ]
    assert heavy(weighed("worker"), weighed("supervisor", 80.0)) == [
        "memory: no fresh worker was ever weighed, to compare 1 with"
    ]


def test_recovery_is_from_the_kill_to_the_next_begin_of_what_was_running():
    journal = [
        Noted(1, "begin", "a", "1", "a", 1.0),
        Noted(1, "end", "a", "1", "a", 2.0),
        Noted(1, "begin", "b", "1", "b", 3.0),
        Noted(2, "begin", "b", "1", "b", 4.5),
        Noted(2, "begin", "c", "1", "c", 4.6),
    ]
    assert recovery(journal, {1: 4.0}) == {"p50": 0.5, "p99": 0.5, "max": 0.5, "cases": 1.0}
    assert recovery(journal, {}) == {}
