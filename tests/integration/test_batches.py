"""Batches: as many instances of a worker as there are ranges, in the commit that says so."""

from __future__ import annotations

from support.dynamic import CSV, csv_types, divided
from support.flow import Flow, Worker
from support.leases import finish

from tasker_actors.workflow.outcome import StepSuccess


def test_a_batch_runs_one_instance_a_range_and_the_convergence_gets_all_results(flow: Flow):
    (row,) = flow.create(flow.register(CSV, steps=csv_types()))
    worker = Worker(flow)

    reply = worker.commit(finish(worker.claim()[0], divided(3)))

    assert reply.released == 3
    assert flow.states(row.task_uuid) == {
        "analyze": "complete",
        "sum": "pending",
        "work_001": "enqueued",
        "work_002": "enqueued",
        "work_003": "enqueued",
    }
    assert flow.task(row.task_uuid)["open_steps"] == 4
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
    assert worker.commit(finish(last)).finished_tasks == {row.task_uuid: "complete"}
