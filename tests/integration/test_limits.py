"""Limits by key: who gets a place, who waits for it, and every way in which one becomes free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from support.backlog import add_backlog
from support.dynamic import APPROVAL, APPROVAL_TYPES, CSV, chosen, csv_types, divided, slice_done
from support.flow import CHAIN, Flow, Worker
from support.leases import AGAIN, DONE, MIB, NEVER, finish, returned

from tasker_actors.postgres.limits import repair_limits
from tasker_actors.postgres.session import session
from tasker_actors.postgres.step_control import Decision, resolve_step
from tasker_actors.postgres.workers import expire_leases
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.step_action import StepAction

ONE = {"scope": "step", "max_concurrent": 1}
TWO = {"scope": "namespace", "max_concurrent": 2}
BY_CUSTOMER = {"scope": "context", "field": "customer.id", "max_concurrent": 1}


def limited(flow: Flow, *limits: dict[str, Any], **keys: Any) -> RegisteredTemplate:
    """Register a template of one step with these limits of its own."""
    return flow.register({"only": []}, limits=list(limits), **keys)


def create(flow: Flow, registered: RegisteredTemplate, count: int = 1, **columns: Any) -> list[str]:
    return [row.task_uuid for row in flow.create(registered, count, **columns)]


def tasks_of(steps: list[LeasedStep]) -> list[str]:
    return [step.task.task_uuid for step in steps]


def parked(flow: Flow) -> int:
    return flow.rows("SELECT count(*) AS n FROM tasker.steps WHERE state = 'enqueued' AND run_at IS NULL")[0]["n"]


def keys_of(flow: Flow, task_uuid: str) -> list[str]:
    """The values in the keys of a task's only step."""
    (step,) = flow.steps(task_uuid).values()
    return [key.partition(":")[2] for key in step["limit_keys"]]


# places


def test_so_many_steps_run_at_a_time_and_the_others_wait_out_of_the_way(flow: Flow):
    tasks = create(flow, limited(flow, TWO), 5)
    worker = Worker(flow)

    steps = worker.claim()

    assert tasks_of(steps) == tasks[:2]
    assert parked(flow) == 3
    assert {state for task in tasks[2:] for state in flow.states(task).values()} == {"enqueued"}
    assert Worker(flow).claim() == []
    worker.commit(finish(steps[1]))
    assert tasks_of(Worker(flow).claim()) == [tasks[2]]
    assert parked(flow) == 2


def test_everything_runs_in_the_end_in_the_order_of_the_queue(flow: Flow):
    tasks = create(flow, limited(flow, TWO), 9)
    worker = Worker(flow)
    ran = []
    while steps := worker.claim():
        assert len(steps) <= 2
        ran += tasks_of(steps)
        worker.commit(*(finish(step) for step in steps))

    assert ran == tasks
    assert {flow.task(task)["status"] for task in tasks} == {"complete"}


def test_who_is_more_urgent_stands_before_the_others_of_its_key(flow: Flow):
    registered = limited(flow, ONE)
    tasks = create(flow, registered, 3)
    worker = Worker(flow)
    (first,) = worker.claim()
    (urgent,) = create(flow, registered, priority=2)
    assert worker.claim() == []

    worker.commit(finish(first))

    assert tasks_of(worker.claim()) == [urgent]
    assert parked(flow) == 2
    assert tasks[0] == first.task.task_uuid


def test_steps_without_limits_do_not_wait_behind_a_crowd_that_has_no_places(flow: Flow):
    add_backlog(flow, limited(flow, ONE), 2500)
    (plain,) = create(flow, flow.register({"only": []}, name="plain"))
    worker = Worker(flow)

    claims = [worker.claimer.claim(10, MIB) for _ in range(4)]

    found = [tasks_of(list(claim.steps)) for claim in claims if claim is not None]
    assert [plain] in found, "four claims meet 2,500 steps"
    assert all(claim.more for claim in claims[: found.index([plain])] if claim is not None)


def test_a_limit_of_one_namespace_is_none_of_another(flow: Flow):
    here, there = (limited(flow, TWO, namespace=namespace) for namespace in ("shop", "cafe"))
    create(flow, here, 3)
    create(flow, there, 3)

    steps = Worker(flow, namespaces=("shop", "cafe")).claim()

    assert sorted(step.plan.namespace for step in steps) == ["cafe", "cafe", "shop", "shop"]


def test_a_limit_of_a_template_holds_for_all_its_steps_and_one_of_a_step_for_that_step(flow: Flow):
    graph: dict[str, list[str]] = {"left": [], "right": []}
    shared = flow.register(graph, name="shared", shared_limits=[{"scope": "template", "max_concurrent": 1}])
    each = flow.register(graph, name="each", shared_limits=[{"scope": "step", "max_concurrent": 1}])
    for registered in (shared, each):
        create(flow, registered, 3)

    steps = Worker(flow).claim()

    assert sorted((step.plan.task_type, step.name) for step in steps) == [
        ("each", "left"),
        ("each", "right"),
        ("shared", "left"),
    ]


def test_a_step_with_two_limits_needs_a_place_in_both_and_keeps_none_meanwhile(flow: Flow):
    both = limited(flow, TWO, ONE, name="both")
    other = limited(flow, TWO, name="other")
    first, second = create(flow, both, 2)
    third, fourth = create(flow, other, 2)
    worker = Worker(flow)

    steps = worker.claim()

    assert tasks_of(steps) == [first, third], "the second has no place of its step, and takes none of the namespace"
    worker.commit(finish(steps[1]))
    assert tasks_of(worker.claim()) == [fourth]
    worker.commit(finish(steps[0]))
    assert tasks_of(worker.claim()) == [second]


def test_who_stands_at_one_limit_and_lacks_a_place_of_another_lets_the_next_one_go(flow: Flow):
    """Both places of the namespace are taken; then one is free, and the first who stands there needs more than that."""
    plain = limited(flow, TWO, name="plain")
    both = limited(flow, TWO, ONE, name="both")
    holder, busy = create(flow, both)[0], create(flow, plain)[0]
    worker = Worker(flow)
    held, other = worker.claim()
    assert tasks_of([held, other]) == [holder, busy]
    waits, free = create(flow, both)[0], create(flow, plain)[0]
    assert worker.claim() == []

    worker.commit(finish(other))

    assert tasks_of(worker.claim_all()) == [free]
    worker.commit(finish(held))
    assert tasks_of(worker.claim_all()) == [waits]


def test_a_claim_takes_no_more_than_it_may_and_says_that_there_is_more(flow: Flow):
    create(flow, limited(flow, {"scope": "namespace", "max_concurrent": 4}), 6)
    worker = Worker(flow)

    claims = [worker.claimer.claim(3, MIB) for _ in range(3)]

    assert [(len(claim.steps), claim.more) for claim in claims if claim] == [(3, True), (1, True), (0, False)]


def test_what_does_not_fit_into_one_reply_keeps_its_place_in_the_queue(flow: Flow):
    registered = limited(flow, {"scope": "namespace", "max_concurrent": 3})
    tasks = create(flow, registered, 5, context=orjson.dumps({"text": "x" * 1000}))
    worker = Worker(flow)

    assert tasks_of(worker.claim(5, max_bytes=1500)) == tasks[:1]
    assert tasks_of(worker.claim(5, max_bytes=2500)) == tasks[1:3]
    assert worker.claim(5) == []


# values of a field


def test_a_limit_by_a_field_of_the_context_counts_each_of_its_values(flow: Flow):
    registered = limited(flow, BY_CUSTOMER)
    contexts = [{"customer": {"id": value}} for value in ("a", "a", "b", 7, "7", None)]
    tasks = [
        create(flow, registered, context=orjson.dumps(context))[0]
        for context in [*contexts, {}, {"customer": "nobody"}, {"customer": {"id": [1, 2]}}]
    ]

    steps = Worker(flow).claim()

    assert tasks_of(steps) == [tasks[n] for n in (0, 2, 3, 5, 8)], "7 is 7, and whoever has no customer is one"
    assert [keys_of(flow, tasks[n]) for n in (0, 3, 5, 6, 8)] == [["a"], ["7"], ["null"], ["null"], ["[1, 2]"]]


def test_long_values_are_told_apart_by_more_than_their_beginning(flow: Flow):
    registered = limited(flow, BY_CUSTOMER)
    values = ["x" * 5000, "x" * 4999 + "y", "x" * 5000, "ü" * 300]
    tasks = [create(flow, registered, context=orjson.dumps({"customer": {"id": value}}))[0] for value in values]

    assert tasks_of(Worker(flow).claim()) == [tasks[0], tasks[1], tasks[3]]
    assert all(len(keys_of(flow, task)[0]) == 165 for task in tasks)


def test_limits_by_a_field_are_one_in_the_namespace_where_they_have_one_name(flow: Flow):
    named = {**BY_CUSTOMER, "name": "customers"}
    templates = [
        limited(flow, BY_CUSTOMER, name="own"),
        limited(flow, BY_CUSTOMER, name="other"),
        limited(flow, named, name="named"),
        limited(flow, named, name="named_too"),
    ]
    for registered in templates:
        create(flow, registered, context=b'{"customer": {"id": 1}}')

    assert [step.plan.task_type for step in Worker(flow).claim()] == ["own", "other", "named"]


# every way in which a lease ends


def _commit(outcome: Any) -> Callable[[Flow, Worker, LeasedStep], object]:
    return lambda _flow, worker, step: worker.commit(finish(step, outcome))


def _expire(flow: Flow, _worker: Worker, _step: LeasedStep) -> None:
    flow.rows("UPDATE tasker.steps SET run_at = now() - interval '1 s' WHERE state = 'in_progress' RETURNING 1")
    with session(flow.pool) as connection:
        assert expire_leases(connection, grace_ms=0) == 1


def _forget(flow: Flow, worker: Worker, _step: LeasedStep) -> None:
    flow.rows("UPDATE tasker.steps SET run_at = run_at - interval '9 s' WHERE state = 'in_progress' RETURNING 1")
    worker.claimer.extend([])


def _fail_by_time(flow: Flow, _worker: Worker, step: LeasedStep) -> None:
    document = {"task": step.task.task_uuid, "reason": "staleness_timeout", "fails": True, "enters": True, "more": {}}
    flow.rows("SELECT tasker.enter_task_v1(%s::jsonb)", orjson.dumps(document).decode())


WAYS: dict[str, Callable[[Flow, Worker, LeasedStep], object]] = {
    "complete": _commit(DONE),
    "failed for good": _commit(NEVER),
    "to be retried": _commit(AGAIN),
    "a slice is done": _commit(slice_done(1)),
    "given back": lambda _flow, worker, step: worker.commit(returned(step)),
    "its worker died": lambda flow, worker, _: flow.settlement().settle(worker.worker_id, running=(), reason="killed"),
    "its lease expired": _expire,
    "its worker forgot it": _forget,
    "its task was cancelled": lambda flow, _worker, step: flow.cancel(step.task.task_uuid),
    "its task stood still": _fail_by_time,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_place_is_free_however_a_lease_ends(flow: Flow, way: str):
    registered = limited(flow, ONE)
    (first,) = create(flow, registered)
    (urgent,) = create(flow, registered, priority=1)
    worker = Worker(flow)
    (step,) = worker.claim()
    assert step.task.task_uuid == urgent
    assert parked(flow) == 1

    WAYS[way](flow, worker, step)

    if flow.states(urgent)["only"] == "enqueued":
        flow.rows("UPDATE tasker.steps SET run_at = now() + interval '1 h' WHERE task_uuid = %s RETURNING 1", urgent)
    assert tasks_of(Worker(flow).claim()) == [first]


def test_a_place_is_free_when_a_failing_sibling_cancels_what_had_it(flow: Flow):
    limits = {"work": {**csv_types("fail_fast")["work"], "limits": [{"scope": "step", "max_concurrent": 2}]}}
    registered = flow.register(CSV, steps={**csv_types("fail_fast"), **limits}, retry={"max_attempts": 1})
    create(flow, registered)
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(4)))
    instances = worker.claim()
    assert len(instances) == 2
    (row,) = flow.create(registered, priority=5)
    (analyze,) = worker.claim()
    worker.commit(finish(analyze, divided(2)))
    assert worker.claim() == []

    worker.commit(finish(instances[0], NEVER))

    assert tasks_of(worker.claim()) == [row.task_uuid] * 2


def test_a_parked_step_can_be_completed_by_hand_and_its_task_cancelled(flow: Flow):
    registered = limited(flow, ONE)
    create(flow, registered)
    by_hand, cancelled, last = create(flow, registered, 3)
    worker = Worker(flow)
    (step,) = worker.claim()
    (waiting,) = flow.steps(by_hand).values()

    flow.cancel(cancelled)
    decision = Decision(StepAction.COMPLETE_MANUALLY, by="ann", reason="done", result=b"{}", result_bytes=2)
    done = resolve_step(flow.pool, by_hand, str(waiting["step_uuid"]), decision)

    assert done is not None
    assert done.finished == "complete"
    assert worker.claim() == [], "the first still has the place"
    worker.commit(finish(step))
    assert tasks_of(worker.claim()) == [last]


def test_what_failed_and_is_reset_stands_again_with_others_of_its_key(flow: Flow):
    registered = limited(flow, ONE)
    failed, holds = create(flow, registered, 2)
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], NEVER))
    (step,) = worker.claim()
    assert step.task.task_uuid == holds
    (broken,) = flow.steps(failed).values()

    resolve_step(flow.pool, failed, str(broken["step_uuid"]), Decision(StepAction.RESET_FOR_RETRY, "ann", "again"))

    assert worker.claim() == []
    worker.commit(finish(step))
    assert tasks_of(worker.claim()) == [failed]


# what follows from other steps


def test_a_successor_with_limits_is_released_and_not_continued(flow: Flow):
    graph: dict[str, list[str]] = {"root": [], "free": ["root"], "bound": ["root"]}
    (row,) = flow.create(flow.register(graph, steps={"bound": {"limits": [ONE]}}))
    worker = Worker(flow)

    reply = worker.commit(finish(worker.claim()[0]), places=5)

    names = {row["position"]: name for name, row in flow.steps(row.task_uuid).items()}
    assert [names[step["position"]] for step in reply.steps] == ["free"]
    assert reply.released == 1
    assert [step.name for step in worker.claim()] == ["bound"]


def test_a_slice_of_work_gives_its_place_to_others(flow: Flow):
    registered = limited(flow, ONE)
    (working,) = create(flow, registered)
    worker = Worker(flow)
    (step,) = worker.claim()
    (urgent,) = create(flow, registered, priority=1)

    reply = worker.commit(finish(step, slice_done(3)), places=5)

    assert [*reply.steps] == []
    assert tasks_of(worker.claim()) == [urgent]
    assert flow.states(working) == {"only": "enqueued"}


def test_a_commit_that_frees_a_place_wakes_whoever_may_run_the_next_one(flow: Flow):
    registered = limited(flow, ONE)
    create(flow, registered, 2)
    worker = Worker(flow)
    (step,) = worker.claim()

    assert worker.commit(finish(step)).released == 1
    assert worker.commit(finish(worker.claim()[0])).released == 0, "nobody waits for the second place"


def test_a_retry_and_a_suspect_wait_for_places_like_others(flow: Flow):
    registered = limited(flow, ONE, retry={"backoff": "none"})
    first, second = create(flow, registered, 2)
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], AGAIN))
    (step,) = worker.claim()
    assert step.task.task_uuid == first, "a retry that is due is as old as its task"
    assert worker.claim() == []
    assert flow.states(second) == {"only": "enqueued"}

    flow.settlement().settle(worker.worker_id, running=(step.token,), reason="killed")

    third = Worker(flow)
    assert len(third.claim()) == 1


def test_instances_of_a_batch_worker_and_what_a_decision_chooses_have_the_limits_of_their_step(flow: Flow):
    batch = {"work": {**csv_types()["work"], "limits": [{"scope": "step", "max_concurrent": 2}]}}
    create(flow, flow.register(CSV, steps={**csv_types(), **batch}))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(5)))
    assert [step.name for step in worker.claim()] == ["work_001", "work_002"]

    branch = {name: {"limits": [{"scope": "step", "max_concurrent": 1}]} for name in ("small", "large")}
    create(flow, flow.register(APPROVAL, name="approve", steps={**APPROVAL_TYPES, **branch}), 3)
    for _ in range(3):
        worker.commit(*(finish(step) for step in worker.claim() if step.name == "validate"))
        worker.commit(*(finish(step, chosen("small")) for step in worker.claim() if step.name == "route"))
    chosen_ones = flow.rows("SELECT state, count(*) AS n FROM tasker.steps WHERE name = 'small' GROUP BY 1 ORDER BY 1")
    assert sum(row["n"] for row in chosen_ones) == 3
    running = flow.rows("SELECT count(*) AS n FROM tasker.steps WHERE name = 'small' AND state = 'in_progress'")
    assert running == [{"n": 1}]


# numbers that change


def test_what_was_registered_last_counts_and_opens_places_at_once(flow: Flow):
    create(flow, limited(flow, {"scope": "namespace", "max_concurrent": 1}, name="old"), 4)
    worker = Worker(flow)
    assert len(worker.claim()) == 1

    limited(flow, {"scope": "namespace", "max_concurrent": 3}, name="new")
    assert len(worker.claim()) == 2

    limited(flow, {"scope": "namespace", "max_concurrent": 1}, name="newer")
    steps = flow.rows("SELECT count(*) AS n FROM tasker.steps WHERE state = 'in_progress'")
    assert (steps, worker.claim()) == ([{"n": 3}], []), "what runs goes on"


def test_a_limit_that_is_gone_from_the_template_still_binds_tasks_that_were_created_with_it(flow: Flow):
    old = limited(flow, ONE)
    create(flow, old, 2)
    flow.register({"only": []}, name="other")

    assert len(Worker(flow).claim()) == 1


def test_the_repair_opens_what_nobody_opened_and_nothing_else(flow: Flow):
    registered = limited(flow, BY_CUSTOMER)
    for value in (1, 1, 2, 2, 3):
        create(flow, registered, context=orjson.dumps({"customer": {"id": value}}))
    worker = Worker(flow)
    steps = worker.claim()
    with session(flow.pool) as connection:
        assert repair_limits(connection) == 0
    worker.commit(finish(steps[0]))
    flow.rows("DELETE FROM tasker.limit_openings RETURNING 1")
    assert worker.claim() == []

    with session(flow.pool) as connection:
        assert [repair_limits(connection), repair_limits(connection)] == [1, 0]
    assert len(worker.claim()) == 1


def test_a_chain_with_limits_on_each_step_runs_to_its_end(flow: Flow):
    registered = flow.register(CHAIN, shared_limits=[TWO, {"scope": "step", "max_concurrent": 1}])
    tasks = create(flow, registered, 6)

    assert Worker(flow).run() == 18
    assert {flow.task(task)["status"] for task in tasks} == {"complete"}
