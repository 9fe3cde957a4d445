"""What stands still and what waits for its turn, and that a task which failed for it can be brought back whole."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.ageing import age
from support.dynamic import CSV, csv_types, divided
from support.flow import Flow, Worker, by_name
from support.leases import AGAIN, NEVER, finish
from support.sub_workflows import Family

from tasker_actors.postgres import task_dead_letters as dead
from tasker_actors.postgres.retention import Prunable, prune
from tasker_actors.postgres.session import session
from tasker_actors.postgres.step_control import Decision, reset_task, resolve_step
from tasker_actors.postgres.task_dead_letters import EntryFilter, Investigation
from tasker_actors.settings.dlq import DlqSettings
from tasker_actors.supervision.dead_tasks import DeadTasks
from tasker_actors.workflow.step_action import StepAction

FAILS = {"staleness_action": "error", "max_steps_in_process_minutes": 30}
ONE = {"scope": "template", "max_concurrent": 1}


def round_of(flow: Flow, **settings: int) -> list[str]:
    """Do one round of the leader; returns the reasons of the entries that are pending then."""
    DeadTasks(flow.pool, DlqSettings(**settings), lambda _: None).round(1.0)
    return [one["dlq_reason"] for one in dead.read_entries(flow.pool, EntryFilter(status="pending"), limit=10)]


@pytest.mark.parametrize("strategy", ["continue_on_failure", "isolate", "fail_fast"])
@pytest.mark.parametrize("beside", [False, True], ids=["a batch", "a batch and a step beside it"])
def test_a_batch_that_stood_still_is_brought_back_and_comes_to_its_end(flow: Flow, strategy: str, beside: bool):
    graph = {**CSV, "beside": []} if beside else CSV
    (row,) = flow.create(flow.register(graph, steps=csv_types(strategy), lifecycle=FAILS))
    worker = Worker(flow)
    first = by_name(worker.claim())
    worker.commit(finish(first["analyze"], divided(3)))
    instances = worker.claim()
    worker.commit(finish(instances[0]), finish(instances[1], NEVER if strategy == "continue_on_failure" else AGAIN))
    age(flow, 40)
    round_of(flow)
    assert flow.task(row.task_uuid)["status"] == "error"
    assert flow.states(row.task_uuid)["work_003"] == "error"

    assert reset_task(flow.pool, row.task_uuid, by="ann", reason="workers are back") is not None
    assert flow.steps(row.task_uuid)["sum"]["blocked"] is False
    worker.run()

    states = flow.states(row.task_uuid)
    assert states.pop("work_002") == ("error" if strategy == "continue_on_failure" else "complete")
    assert set(states.values()) == {"complete"}
    found = flow.task(row.task_uuid)
    assert (found["status"], found["open_steps"], found["failed_steps"]) == ("complete", 0, 0)


def test_one_step_of_what_stood_still_brings_back_no_more_than_itself(flow: Flow):
    """What waits for the instances still does: nothing has gone on without them."""
    (row,) = flow.create(flow.register({**CSV, "beside": []}, steps=csv_types(), lifecycle=FAILS))
    worker = Worker(flow)
    steps = by_name(worker.claim())
    worker.commit(finish(steps["analyze"], divided(2)))
    worker.claim()
    age(flow, 40)
    round_of(flow)
    beside = flow.rows("SELECT step_uuid::text FROM tasker.steps WHERE name = 'beside'")[0]["step_uuid"]
    decision = Decision(StepAction.RESET_FOR_RETRY, "ann", "this one alone")

    resolve_step(flow.pool, row.task_uuid, beside, decision)
    worker.run()

    assert flow.task(row.task_uuid)["status"] == "error"
    assert flow.states(row.task_uuid)["sum"] == "pending"
    reset_task(flow.pool, row.task_uuid, by="ann", reason="the others too")
    worker.run()
    assert flow.task(row.task_uuid)["status"] == "complete"


def test_the_time_in_a_backlog_is_no_time_in_which_a_step_ran(flow: Flow):
    flow.create(flow.register({"only": []}, lifecycle=FAILS))
    age(flow, 40)
    worker = Worker(flow)
    worker.claim()

    round_of(flow)
    assert flow.rows("SELECT status FROM tasker.tasks") == [{"status": "pending"}]
    age(flow, 31)
    round_of(flow)
    assert flow.rows("SELECT status FROM tasker.tasks") == [{"status": "error"}]


def test_a_step_that_is_due_waits_for_its_turn_while_workers_run_others_of_its_namespace(flow: Flow):
    registered = flow.register({"first": [], "then": ["first"]})
    (waiting,) = flow.create(registered)
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0]))
    flow.create(registered, priority=9)
    (other,) = worker.claim(1)
    assert other.task.task_uuid != waiting.task_uuid
    flow.rows("UPDATE tasker.tasks SET updated_at = updated_at - interval '2 hours' RETURNING 1")

    assert round_of(flow) == []
    worker.commit(finish(other))
    assert round_of(flow) == ["worker_unavailable"]


def test_who_closes_an_entry_hears_of_it_again_only_when_the_task_has_gone_on(flow: Flow):
    flow.create(flow.register({"first": [], "then": ["first"]}))
    worker = Worker(flow)
    (step,) = worker.claim()
    age(flow, 40)
    assert round_of(flow) == ["staleness_timeout"]
    (entry,) = dead.read_entries(flow.pool, EntryFilter(), limit=10)
    dead.update_entry(flow.pool, entry["dlq_entry_uuid"], Investigation("permanently_failed", "hopeless", "ann", None))

    assert round_of(flow) == []
    worker.commit(finish(step))
    worker.claim()
    assert round_of(flow) == []
    age(flow, 40)
    assert round_of(flow) == ["staleness_timeout"]


def test_that_a_task_takes_too_long_in_all_is_said_once(flow: Flow):
    flow.create(flow.register({"first": [], "then": ["first"]}, lifecycle={"max_duration_minutes": 60}))
    worker = Worker(flow)
    (step,) = worker.claim()
    age(flow, 0, created=61)
    assert round_of(flow) == ["staleness_timeout"]
    (entry,) = dead.read_entries(flow.pool, EntryFilter(), limit=10)
    dead.update_entry(flow.pool, entry["dlq_entry_uuid"], Investigation("manually_resolved", "let it run", "ann", None))

    worker.commit(finish(step))

    assert round_of(flow) == []


@pytest.mark.parametrize("waits_for", ["another task", "a place"])
def test_a_task_that_waits_has_no_more_time_in_all_than_others(flow: Flow, waits_for: str):
    if waits_for == "another task":
        task = Family(flow).row.task_uuid
    else:
        flow.create(flow.register({"first": [], "then": ["first"]}, limits=[ONE]), 2)
        worker = Worker(flow)
        (step,) = worker.claim()
        assert worker.claim() == []
        task = flow.rows("SELECT task_uuid::text FROM tasker.tasks WHERE task_uuid <> %s", step.task.task_uuid)[0][
            "task_uuid"
        ]
    flow.create(flow.register({"only": []}, name="backlog"), 2)
    age(flow, 100, created=100)
    flow.rows("UPDATE tasker.tasks SET created_at = now() WHERE task_uuid <> %s RETURNING 1", task)

    round_of(flow, max_duration_minutes=90, max_scanned_steps=1)

    pending = dead.read_entries(flow.pool, EntryFilter(task_uuid=task), limit=10)
    assert [one["dlq_reason"] for one in pending] == ["staleness_timeout"]


def test_an_instance_that_waited_for_a_task_when_another_one_failed_runs_on_after_the_reset(flow: Flow):
    """The dependency that stood for its tasks is gone with them: a slice of it that ends is followed by the next."""
    (row,) = flow.create(flow.register(CSV, steps=csv_types("fail_fast")))
    worker = Worker(flow)
    worker.commit(finish(worker.claim()[0], divided(2)))
    first, _second = worker.claim()
    flow.rows(
        "UPDATE tasker.steps SET state = 'pending', open_dependencies = 1, wait_token = token, token = NULL, "
        "worker_id = NULL, run_at = NULL WHERE name = 'work_002' RETURNING 1"
    )
    worker.commit(finish(first, NEVER))
    assert flow.states(row.task_uuid)["work_002"] == "cancelled"

    reset_task(flow.pool, row.task_uuid, by="ann", reason="again")

    assert flow.steps(row.task_uuid)["work_002"]["open_dependencies"] == 0


def test_what_a_task_has_started_stays_until_the_task_is_finished(flow: Flow):
    """A step there is told of all it waited for, however long the last of them takes."""
    family = Family(flow, child={"only": []})
    (child,) = family.worker.claim()
    family.worker.commit(finish(child))
    age(flow, 0, completed=9 * 24 * 60)
    with session(flow.pool) as connection:
        assert prune(connection, Prunable.FINISHED_TASKS, timedelta(days=1)) == 0

        family.worker.run()
        age(flow, 0, completed=9 * 24 * 60)
        assert prune(connection, Prunable.FINISHED_TASKS, timedelta(days=1)) == 2
