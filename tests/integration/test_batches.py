"""Batches: as many instances of a worker as there are ranges, in the commit that says so."""

from __future__ import annotations

import pytest
from support.dynamic import CSV, batches, chosen, csv_types, divided, ranges, slice_done
from support.flow import Flow, Worker, by_name
from support.leases import AGAIN, NEVER, event, finish

from tasker_actors.delivery.committer import BatchRefusedError
from tasker_actors.postgres.tasks import find_task, read_steps
from tasker_actors.workflow.outcome import StepSuccess


def started(flow: Flow, count: int, strategy: str = "continue_on_failure", **keys):
    """A task of CSV whose first step made so many batches, and its worker."""
    (row,) = flow.create(flow.register(CSV, steps=csv_types(strategy), **keys))
    worker = Worker(flow)
    reply = worker.commit(finish(worker.claim()[0], divided(count)))
    return row.task_uuid, worker, reply


def counted(flow: Flow, task: str) -> tuple[int, int, str]:
    """What the task's row counts."""
    found = flow.task(task)
    return found["open_steps"], found["failed_steps"], found["status"]


def test_a_batch_runs_one_instance_a_range_and_the_convergence_gets_all_results(flow: Flow):
    task, worker, reply = started(flow, 3)

    assert reply.released == 3
    assert flow.states(task) == {
        "analyze": "complete",
        "sum": "pending",
        "work_001": "enqueued",
        "work_002": "enqueued",
        "work_003": "enqueued",
    }
    assert counted(flow, task) == (4, 0, "in_progress")
    steps = worker.claim()
    assert [step.name for step in steps] == ["work_001", "work_002", "work_003"]
    assert {step.plan.name for step in steps} == {"work"}
    assert steps[1].inputs == {
        "cursor": {"batch_id": "002", "start_cursor": 10, "end_cursor": 20, "batch_size": 10},
        "batch_metadata": {
            "checkpoint_interval": 1000,
            "cursor_field": "id",
            "failure_strategy": "continue_on_failure",
        },
        "is_no_op": False,
    }
    worker.commit(*(finish(step, StepSuccess({"n": number})) for number, step in enumerate(steps)))
    (last,) = worker.claim()
    assert {name: last.dependency_results[name] for name in ("work_001", "work_002", "work_003")} == {
        "work_001": {"n": 0},
        "work_002": {"n": 1},
        "work_003": {"n": 2},
    }
    assert worker.commit(finish(last)).finished_tasks == {task: "complete"}


def test_1000_workers_of_a_batch_are_made_in_one_transaction(flow: Flow):
    task, worker, reply = started(flow, 1_000)

    assert reply.released == 1_000
    assert counted(flow, task) == (1_001, 0, "in_progress")
    made = flow.rows(
        "SELECT count(DISTINCT step_uuid) AS ids, count(DISTINCT name) AS names, count(DISTINCT xmin::text) AS commits,"
        " min(position) AS first, max(position) AS last FROM tasker.steps WHERE definition IS NOT NULL"
    )[0]
    assert made == {"ids": 1_000, "names": 1_000, "commits": 1, "first": 4, "last": 1_003}
    assert worker.run() == 1_001
    assert counted(flow, task) == (0, 0, "complete")


def test_the_results_of_instances_go_to_who_depends_on_the_worker_itself_and_no_further(flow: Flow):
    graph = {**CSV, "report": ["sum"]}
    (row,) = flow.create(flow.register(graph, steps=csv_types()))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(2)))
    worker.commit(*map(finish, worker.claim()))
    worker.commit(*map(finish, worker.claim()))

    (report,) = worker.claim()

    assert set(report.dependency_results) == {"analyze", "sum"}
    assert worker.commit(finish(report)).finished_tasks == {row.task_uuid: "complete"}


def test_a_continued_convergence_gets_the_results_too(flow: Flow):
    _task, worker, _ = started(flow, 2)
    steps = worker.claim()

    reply = worker.commit(*map(finish, steps), places=1)

    (last,) = worker.continued(reply, steps[0])
    assert set(last.dependency_results) == {"analyze", "work_001", "work_002"}


def test_a_standard_step_may_wait_for_all_instances_too(flow: Flow):
    (_row,) = flow.create(flow.register(CSV, steps={**csv_types(), "sum": {}}))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(2)))
    first, second = worker.claim()
    assert worker.commit(finish(first)).released == 0
    assert worker.commit(finish(second)).released == 1
    assert set(worker.claim()[0].dependency_results) == {"analyze", "work_001", "work_002"}


def test_without_batches_one_placeholder_runs(flow: Flow):
    task, worker, reply = started(flow, 0)

    assert (reply.released, flow.states(task)["work"]) == (1, "enqueued")
    (work,) = worker.claim()
    assert (work.name, work.inputs["is_no_op"]) == ("work", True)
    worker.run()
    assert worker.commit(finish(work)).released == 1
    assert set(worker.claim()[0].dependency_results) == {"analyze", "work"}


def test_a_batch_in_a_branch_that_was_not_chosen_never_is(flow: Flow):
    graph = {"route": [], "analyze": ["route"], "work": ["analyze"], "other": ["route"], "sum": ["work", "other"]}
    types = {**csv_types(), "route": {"type": "decision"}}
    registered = flow.register(graph, steps=types)
    chooses, does_not = (row.task_uuid for row in flow.create(registered, 2))
    worker = Worker(flow)
    routes = {step.task.task_uuid: step for step in worker.claim()}
    worker.commit(finish(routes[chooses], chosen("analyze")), finish(routes[does_not], chosen("other")))
    assert flow.states(does_not) == {"route": "complete", "other": "enqueued", "sum": "pending"}
    assert flow.states(chooses)["work"] == "undecided"
    steps = by_name(worker.claim())

    worker.commit(finish(steps["analyze"], divided(2)), finish(steps["other"]))

    worker.run()
    assert set(flow.states(chooses)) == {"route", "analyze", "work_001", "work_002", "sum"}
    assert flow.task(chooses)["status"] == flow.task(does_not)["status"] == "complete"


def test_of_two_workers_the_one_that_was_not_named_never_is(flow: Flow):
    graph = {**CSV, "other": ["analyze"], "sum": ["work", "other"]}
    types = {**csv_types(), "other": {"type": "batch_worker"}}
    (row,) = flow.create(flow.register(graph, steps=types))
    worker = Worker(flow)

    worker.commit(finish(worker.claim()[0], divided(2, "other")))

    assert set(flow.states(row.task_uuid)) == {"analyze", "other_001", "other_002", "sum"}
    worker.run()
    assert counted(flow, row.task_uuid) == (0, 0, "complete")


@pytest.mark.parametrize(
    "outcome",
    [StepSuccess({}), batches(ranges(2), worker_count=3), batches(ranges(2), "wrok"), batches([*ranges(1)] * 2)],
)
def test_a_batch_that_cannot_be_followed_fails_for_good_and_nothing_else_changes(flow: Flow, outcome):
    (row,) = flow.create(flow.register(CSV, steps=csv_types()))
    worker = Worker(flow)

    reply = worker.commit(finish(worker.claim()[0], outcome))

    assert reply.finished_tasks == {row.task_uuid: "error"}
    analyze = flow.steps(row.task_uuid)["analyze"]
    assert (analyze["state"], analyze["error"]["error_type"]) == ("error", "invalid_batches")
    assert flow.states(row.task_uuid)["work"] == "undecided"


def test_an_instance_is_tried_again_like_any_step(flow: Flow):
    task, worker, _ = started(flow, 2, retry={"backoff": "none", "max_attempts": 2})
    first, second = worker.claim()
    worker.commit(finish(first, AGAIN), finish(second))

    (again,) = worker.claim()

    assert (again.name, again.attempt, again.inputs) == (first.name, 2, first.inputs)
    worker.commit(finish(again))
    worker.run()
    assert flow.attempts(task)[1:4] == [(4, 1, "waiting_for_retry"), (5, 1, "complete"), (4, 2, "complete")]


def test_where_failures_do_not_matter_the_convergence_goes_on_with_what_there_is(flow: Flow):
    task, worker, _ = started(flow, 3, "continue_on_failure")
    first, second, third = worker.claim()
    worker.commit(finish(first, NEVER))
    assert counted(flow, task) == (3, 0, "in_progress")
    assert not flow.steps(task)["sum"]["blocked"]

    assert worker.commit(finish(second), finish(third)).released == 1

    (last,) = worker.claim()
    assert set(last.dependency_results) == {"analyze", "work_002", "work_003"}
    assert worker.commit(finish(last)).finished_tasks == {task: "complete"}
    record = find_task(flow.pool, task)
    assert record is not None
    assert (record.summary.failed_steps, record.summary.execution_status) == (1, "all_complete")
    assert record.summary.health_status == "healthy"


def test_a_batch_of_which_everything_failed_still_reaches_the_convergence(flow: Flow):
    task, worker, _ = started(flow, 2, "continue_on_failure")

    assert worker.commit(*(finish(step, NEVER) for step in worker.claim())).released == 1

    worker.run()
    assert counted(flow, task) == (0, 0, "complete")


def test_a_batch_that_fails_fast_takes_the_rest_with_it(flow: Flow):
    """One instance is complete, one runs elsewhere, one waits for its retry, one for its turn, one ends a slice."""
    task, worker, _ = started(flow, 6, "fail_fast")
    other = Worker(flow)
    steps = worker.claim(4)
    (elsewhere,) = other.claim(1)
    worker.commit(finish(steps[0]), finish(steps[1], AGAIN))

    reply = worker.commit(finish(steps[2], NEVER), finish(steps[3], slice_done(1)))

    assert reply.finished_tasks == {task: "error"}
    assert sorted(reply.cancelled) == [(elsewhere.token, other.worker_id)]
    assert flow.states(task) == {
        "analyze": "complete",
        "sum": "pending",
        "work_001": "complete",
        "work_002": "cancelled",
        "work_003": "error",
        "work_004": "cancelled",
        "work_005": "cancelled",
        "work_006": "cancelled",
    }
    assert flow.steps(task)["sum"]["blocked"]
    assert counted(flow, task) == (0, 1, "error")
    assert other.commit(finish(elsewhere)).won == frozenset()
    assert other.claim() == []


def test_two_failures_of_a_batch_that_fails_fast_in_one_commit_are_both_told(flow: Flow):
    task, worker, _ = started(flow, 3, "fail_fast")
    first, second, _ = worker.claim()

    worker.commit(finish(first, NEVER), finish(second, NEVER))

    assert counted(flow, task) == (0, 2, "error")
    assert flow.states(task)["work_003"] == "cancelled"


def test_an_isolated_failure_lets_the_others_run_and_holds_the_convergence(flow: Flow):
    task, worker, _ = started(flow, 3, "isolate")
    first, second, third = worker.claim()
    worker.commit(finish(first, NEVER))
    assert counted(flow, task) == (2, 1, "in_progress")
    assert flow.steps(task)["sum"]["blocked"]

    reply = worker.commit(finish(second), finish(third))

    assert reply.finished_tasks == {task: "error"}


@pytest.mark.parametrize(
    ("strategy", "state", "counts"),
    [("continue_on_failure", "enqueued", (1, 0)), ("fail_fast", "cancelled", (0, 1)), ("isolate", "enqueued", (1, 1))],
)
def test_an_instance_whose_worker_was_lost_for_the_last_time_counts_by_the_strategy(
    flow: Flow, strategy, state, counts
):
    task, worker, _ = started(flow, 2, strategy, retry={"max_attempts": 1}, publishes_events=[event("step.lost")])
    first, second = worker.claim()
    worker.commit(finish(second)) if strategy == "continue_on_failure" else None

    flow.settlement().settle(worker.worker_id, running={first.token}, reason="SIGKILL")

    found = flow.task(task)
    assert flow.states(task)["work_001"] == "error"
    assert (found["open_steps"], found["failed_steps"]) == counts
    assert flow.states(task)["sum" if strategy == "continue_on_failure" else "work_002"] == state
    assert flow.queue()[-1]["message"]["metadata"]["step_name"] == "work_001"


def test_the_steps_of_a_batch_are_shown_by_their_own_names(flow: Flow):
    task, _worker, _ = started(flow, 2)

    steps = {step["name"]: step["dependencies"] for step in read_steps(flow.pool, task) or []}

    assert steps == {"analyze": [], "sum": ["work"], "work_001": ["analyze"], "work_002": ["analyze"]}


def test_a_cancel_ends_the_instances_too(flow: Flow):
    task, worker, _ = started(flow, 2)
    (running,) = worker.claim(1)

    cancellation = flow.cancel(task)

    assert [lease.token for lease in cancellation.leases] == [running.token]
    assert set(flow.states(task).values()) == {"complete", "cancelled"}


def test_instances_that_a_task_has_no_room_for_are_refused(flow: Flow):
    task, worker, _ = started(flow, 1)
    flow.rows("UPDATE tasker.steps SET position = 32766 WHERE name = 'work_001' RETURNING 1")
    graph = {**CSV, "again": [], "more": ["again"]}
    types = {
        "again": {"type": "batchable"},
        "more": csv_types()["work"] | {"batch_config": {"worker_template": "more"}},
    }
    (row,) = flow.create(flow.register(graph, name="two", steps={**csv_types(), **types}))
    flow.rows(
        "UPDATE tasker.steps SET position = 32766 WHERE name = 'sum' AND task_uuid = %s RETURNING 1", row.task_uuid
    )
    (again,) = (step for step in worker.claim() if step.plan.name == "again")

    with pytest.raises(
        BatchRefusedError, match="at most 32,767 steps: it has 32766 already, and the batch would add 2"
    ):
        worker.commit(finish(again, divided(2, "more")))
    assert flow.states(task)["work_001"] == "in_progress"
