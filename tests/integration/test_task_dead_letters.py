"""Dead letters of tasks: which get an entry by themselves, and what becomes of tasks that stand still."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.ageing import age
from support.api_runtime import in_threads
from support.flow import CHAIN, Flow, Worker
from support.leases import AGAIN, NEVER, finish

from tasker_actors.identifiers import new_uuid7
from tasker_actors.postgres import task_dead_letters as dead
from tasker_actors.postgres.retention import Prunable, prune
from tasker_actors.postgres.session import session
from tasker_actors.postgres.step_control import Decision, reset_task, resolve_step
from tasker_actors.postgres.task_dead_letters import EntryFilter, Investigation
from tasker_actors.settings.dlq import DlqSettings
from tasker_actors.supervision.dead_tasks import DeadTasks
from tasker_actors.workflow.dead_tasks import DlqReason

LIMITS = dead.staleness_limits(DlqSettings())
FORK = {"left": [], "right": [], "below": ["left"]}


def entries(flow: Flow, **wanted: Any) -> list[dict[str, Any]]:
    return dead.read_entries(flow.pool, EntryFilter(**wanted), limit=100)


def failed(flow: Flow, **keys: Any) -> str:
    """A task whose first step has failed for good."""
    (row,) = flow.create(flow.register(CHAIN, **keys))
    worker = Worker(flow)
    worker.run(NEVER)
    return row.task_uuid


def rounds(flow: Flow, **settings: Any) -> list[dead.Entry]:
    """Do one round of the leader; returns the tasks that it failed."""
    told: list[dead.Entry] = []
    DeadTasks(flow.pool, DlqSettings(**settings), told.append).round(1.0)
    return told


# Failed tasks


def test_a_failed_task_gets_one_entry_that_says_what_failed(flow: Flow):
    task = failed(flow)

    rounds(flow)
    rounds(flow)

    (entry,) = entries(flow)
    assert (entry["task_uuid"], entry["dlq_reason"], entry["original_state"]) == (task, "max_retries_exceeded", "error")
    assert (entry["resolution_status"], entry["resolved_by"], entry["metadata"]) == ("pending", None, None)
    (snapshot,) = (row["task_snapshot"] for row in flow.rows("SELECT task_snapshot FROM tasker.tasks_dlq"))
    assert (snapshot["namespace"], snapshot["task_name"], snapshot["failed_steps"]) == ("shop", "work", 1)
    (failure,) = snapshot["failures"]
    assert (failure["name"], failure["attempts"], failure["error"]["error_type"]) == ("first", 1, "permanent_error")


def test_tasks_that_did_not_fail_get_no_entry_and_nobody_does_where_that_is_off(flow: Flow):
    (row,) = flow.create(flow.register(FORK))
    worker = Worker(flow)
    worker.commit(*(finish(step, NEVER) for step in worker.claim(limit=1)))
    flow.cancel(row.task_uuid)
    flow.create(flow.register(CHAIN, name="other"))

    rounds(flow)
    assert entries(flow) == []

    failed(flow, name="third")
    rounds(flow, failed_tasks=False)
    assert entries(flow) == []


def test_who_deals_with_the_last_failure_closes_the_entry_and_a_new_failure_gets_a_new_one(flow: Flow):
    task = failed(flow)
    rounds(flow)

    reset_task(flow.pool, task, by="ann", reason="disk replaced")

    (entry,) = entries(flow)
    assert (entry["resolution_status"], entry["resolved_by"]) == ("manually_resolved", "ann")
    assert "disk replaced" in entry["resolution_notes"]
    assert entry["resolution_timestamp"] is not None
    rounds(flow)
    assert len(entries(flow)) == 1
    Worker(flow).run(NEVER)
    rounds(flow)
    assert [one["resolution_status"] for one in entries(flow)] == ["pending", "manually_resolved"]


def test_an_entry_stays_while_another_step_of_the_task_is_failed(flow: Flow):
    (row,) = flow.create(flow.register(FORK))
    Worker(flow).run(NEVER)
    rounds(flow)
    steps = flow.steps(row.task_uuid)

    for name, status in (("left", "pending"), ("right", "manually_resolved")):
        decision = Decision("resolve_manually", "ann", "because")
        resolve_step(flow.pool, row.task_uuid, str(steps[name]["step_uuid"]), decision)
        assert entries(flow)[0]["resolution_status"] == status


def test_a_task_that_somebody_holds_gets_its_entry_in_the_next_round(flow: Flow):
    task = failed(flow)
    with flow.in_flight("SELECT 1 FROM tasker.tasks WHERE task_uuid = %s FOR NO KEY UPDATE", task):
        rounds(flow)
        assert entries(flow) == []
    rounds(flow)
    assert len(entries(flow)) == 1


# Tasks that stand still


@pytest.mark.parametrize(
    ("outcome", "state", "limit", "reason"),
    [
        ("running", "steps_in_process", 30, "staleness_timeout"),
        ("retried", "waiting_for_retry", 30, "staleness_timeout"),
        ("waiting", "waiting_for_dependencies", 60, "worker_unavailable"),
    ],
)
def test_a_task_that_stands_still_gets_an_entry_and_goes_on(flow: Flow, outcome, state, limit, reason):
    (row,) = flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    (step,) = worker.claim()
    if outcome != "running":
        worker.commit(finish(step, AGAIN) if outcome == "retried" else finish(step))
    age(flow, limit - 1)
    rounds(flow)
    assert entries(flow) == []
    age(flow, 1)

    assert rounds(flow) == []
    rounds(flow)

    (entry,) = entries(flow)
    assert (entry["original_state"], entry["dlq_reason"]) == (state, reason)
    (snapshot,) = (found["task_snapshot"] for found in flow.rows("SELECT task_snapshot FROM tasker.tasks_dlq"))
    assert (snapshot["time_in_state_minutes"], snapshot["threshold_minutes"]) == (limit, limit)
    assert flow.task(row.task_uuid)["status"] in ("pending", "in_progress")


def test_what_has_not_begun_waits_for_its_turn(flow: Flow):
    flow.create(flow.register(CHAIN))
    age(flow, 1_000, created=1_000)
    rounds(flow)
    assert entries(flow) == []
    rounds(flow, max_duration_minutes=1_000)
    assert [entry["dlq_reason"] for entry in entries(flow)] == ["staleness_timeout"]


def test_a_template_says_how_long_and_settings_only_what_it_leaves_open(flow: Flow):
    lifecycle = {"max_steps_in_process_minutes": 90, "max_waiting_for_retry_minutes": 5}
    for name in ("running", "retried"):
        flow.create(flow.register(CHAIN, name=name, lifecycle=lifecycle))
    worker = Worker(flow)
    steps = {step.plan.task_type: step for step in worker.claim()}
    worker.commit(finish(steps["retried"], AGAIN))
    age(flow, 31)

    rounds(flow, max_steps_in_process_minutes=1)

    assert [entry["original_state"] for entry in entries(flow)] == ["waiting_for_retry"]


@pytest.mark.parametrize(
    ("lifecycle", "fails", "enters"),
    [
        ({}, False, True),
        ({"auto_fail_on_timeout": True}, True, True),
        ({"auto_fail_on_timeout": True, "auto_dlq_on_timeout": False}, True, False),
        ({"staleness_action": "error"}, True, False),
        ({"staleness_action": "none", "auto_fail_on_timeout": True}, False, False),
    ],
)
def test_a_template_says_what_becomes_of_a_task_that_stands_still(flow: Flow, lifecycle, fails, enters):
    (row,) = flow.create(flow.register(FORK, lifecycle={"max_steps_in_process_minutes": 5, **lifecycle}))
    worker = Worker(flow)
    steps = worker.claim()
    age(flow, 5)

    told = rounds(flow)

    assert [one.task_uuid for one in told] == ([row.task_uuid] if fails else [])
    assert len(entries(flow)) == enters
    task = flow.task(row.task_uuid)
    if not fails:
        assert (task["status"], flow.states(row.task_uuid)["left"]) == ("pending", "in_progress")
        return
    assert {lease.token for lease in told[0].leases} == {step.token for step in steps}
    assert (task["status"], task["open_steps"], task["failed_steps"]) == ("error", 0, 2)
    assert flow.states(row.task_uuid) == {"left": "error", "right": "error", "below": "pending"}
    assert flow.steps(row.task_uuid)["left"]["error"]["error_type"] == "staleness_timeout"
    assert worker.commit(*map(finish, steps)).won == frozenset()
    reset_task(flow.pool, row.task_uuid, by="ann", reason="again")
    worker.run()
    assert flow.task(row.task_uuid)["status"] == "complete"


def test_a_task_that_goes_on_meanwhile_is_left_alone(flow: Flow):
    (row,) = flow.create(flow.register(CHAIN, lifecycle={"auto_fail_on_timeout": True}))
    worker = Worker(flow)
    (step,) = worker.claim()
    age(flow, 30)
    with session(flow.pool) as connection:
        (found,) = dead.stale_tasks(connection, LIMITS, limit=10)
        worker.commit(finish(step))

        entry = dead.enter_stale_task(connection, found)

    assert entry is not None
    assert (entry.dlq_entry_uuid, entry.failed_steps) == (None, 0)
    assert flow.task(row.task_uuid)["status"] == "in_progress"


@pytest.mark.parametrize(
    ("end", "status"), [("complete", "manually_resolved"), ("cancelled", "cancelled"), ("error", "pending")]
)
def test_an_entry_is_closed_when_its_task_comes_to_a_clear_end(flow: Flow, end, status):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    (step,) = worker.claim()
    age(flow, 30)
    rounds(flow)
    if end == "cancelled":
        flow.cancel(row.task_uuid)
    else:
        worker.commit(finish(step) if end == "complete" else finish(step, NEVER))

    rounds(flow)

    (entry,) = entries(flow)
    assert entry["resolution_status"] == status


def test_what_a_person_sent_is_for_a_person_to_close(flow: Flow):
    task = failed(flow)
    made = dead.enter_task(flow.pool, task, reason=DlqReason.MANUAL_DLQ, metadata={"sent_by": "ann"})
    assert made is not None
    assert made.dlq_entry_uuid is not None

    again = dead.enter_task(flow.pool, task, reason=DlqReason.MANUAL_DLQ, metadata={})
    assert again is not None
    assert again.dlq_entry_uuid is None
    reset_task(flow.pool, task, by="ann", reason="again")
    Worker(flow).run()
    rounds(flow)
    (entry,) = entries(flow)
    assert (entry["resolution_status"], entry["metadata"]) == ("pending", '{"sent_by": "ann"}')
    assert dead.enter_task(flow.pool, new_uuid7(), reason=DlqReason.MANUAL_DLQ, metadata={}) is None


def test_a_task_that_is_entered_twice_at_the_same_time_has_one_entry(flow: Flow):
    task = failed(flow)
    made = in_threads(
        lambda _: dead.enter_task(flow.pool, task, reason=DlqReason.MANUAL_DLQ, metadata={}).dlq_entry_uuid, 4
    )
    assert sum(one is not None for one in made) == 1


def test_a_reset_at_the_same_time_as_a_round_leaves_no_entry_that_is_wrong(flow: Flow):
    task = failed(flow)
    thread = threading.Thread(target=lambda: reset_task(flow.pool, task, by="ann", reason="again"))
    with flow.in_flight("SELECT tasker.enter_failed_tasks_v1(10)"):
        thread.start()
        flow.wait_until_blocked()
    thread.join()
    assert [entry["resolution_status"] for entry in entries(flow)] == ["manually_resolved"]


# Looking at it


def test_an_investigation_is_written_down_and_closed_once(flow: Flow):
    failed(flow)
    rounds(flow)
    entry = entries(flow)[0]["dlq_entry_uuid"]

    assert dead.update_entry(flow.pool, entry, Investigation(None, None, None, b'{"cause": "disk"}')) is None
    assert dead.update_entry(flow.pool, entry, Investigation("pending", "looking", "ann", None)) is None
    update = Investigation("permanently_failed", "given up", "bob", b'{"ticket": 7}')
    assert dead.update_entry(flow.pool, entry, update) is None

    (found,) = entries(flow, dlq_entry_uuid=entry)
    assert (found["resolution_status"], found["resolution_notes"], found["resolved_by"]) == (
        "permanently_failed", "given up", "bob",
    )  # fmt: skip
    assert found["metadata"] == '{"cause": "disk", "ticket": 7}'
    assert found["resolution_timestamp"] is not None
    assert dead.update_entry(flow.pool, entry, Investigation("pending", None, None, None)) == "permanently_failed"
    later = Investigation("permanently_failed", "the disk was full", "carol", None)
    assert dead.update_entry(flow.pool, entry, later) is None
    (again,) = entries(flow, dlq_entry_uuid=entry)
    assert (again["resolution_notes"], again["resolved_by"]) == ("the disk was full", "bob"), "who closed it is kept"
    assert again["resolution_timestamp"] == found["resolution_timestamp"]
    assert dead.update_entry(flow.pool, new_uuid7(), update) == "unknown"


def test_entries_are_counted_and_queued_by_what_presses(flow: Flow):
    for name in ("one", "two"):
        failed(flow, name=name)
    (row,) = flow.create(flow.register(CHAIN))
    sent = dead.enter_task(flow.pool, row.task_uuid, reason=DlqReason.MANUAL_DLQ, metadata={})
    assert sent is not None
    rounds(flow)
    first = entries(flow, status="pending")[-1]["dlq_entry_uuid"]
    assert first == sent.dlq_entry_uuid
    (pressing, _, last) = dead.investigation_queue(flow.pool, limit=10)
    assert (pressing["dlq_reason"], last["dlq_reason"]) == ("max_retries_exceeded", "manual_dlq")
    assert (last["task_name"], last["current_state"], last["namespace_name"]) == ("work", "pending", "shop")
    assert len(dead.investigation_queue(flow.pool, limit=1)) == 1
    dead.update_entry(flow.pool, first, Investigation("cancelled", None, "ann", None))

    figures = {one["dlq_reason"]: one for one in dead.entry_figures(flow.pool)}

    assert (figures["max_retries_exceeded"]["total_entries"], figures["max_retries_exceeded"]["pending"]) == (2, 2)
    assert (figures["manual_dlq"]["cancelled"], figures["manual_dlq"]["pending"]) == (1, 0)
    assert figures["manual_dlq"]["avg_resolution_time_minutes"] >= 0
    assert figures["max_retries_exceeded"]["avg_resolution_time_minutes"] is None


def test_how_long_tasks_have_stood_still_is_shown_before_it_is_too_long(flow: Flow):
    flow.create(flow.register(CHAIN))
    worker = Worker(flow)
    worker.claim()

    def shown() -> tuple[str, int, int]:
        (found,) = dead.staleness(flow.pool, LIMITS, limit=10)
        assert (found["namespace_name"], found["task_name"]) == ("shop", "work")
        return found["health_status"], found["time_in_state_minutes"], found["staleness_threshold_minutes"]

    assert shown() == ("healthy", 0, 30)
    age(flow, 24)
    assert shown() == ("warning", 24, 30)
    age(flow, 6)
    assert shown() == ("stale", 30, 30)


# Retention


def test_closed_entries_and_records_are_deleted_by_age_and_pending_ones_stay(flow: Flow):
    closed, pending = failed(flow, name="closed"), failed(flow, name="pending")
    rounds(flow)
    reset_task(flow.pool, closed, by="ann", reason="again")
    flow.rows(
        "UPDATE tasker.tasks_dlq SET dlq_timestamp = dlq_timestamp - interval '2 days', "
        "resolution_timestamp = resolution_timestamp - interval '2 days' RETURNING 1"
    )
    flow.rows("UPDATE tasker.step_audits SET recorded_at = recorded_at - interval '2 days' RETURNING 1")
    (day,) = flow.rows("SELECT interval '1 day' AS day")

    with session(flow.pool) as connection:
        assert prune(connection, Prunable.TASK_DEAD_LETTERS, day["day"], batch=1) == 1
        assert prune(connection, Prunable.STEP_AUDITS, day["day"]) == 1
    assert [entry["task_uuid"] for entry in entries(flow)] == [pending]
    flow.rows("DELETE FROM tasker.tasks WHERE task_uuid = %s RETURNING 1", pending)
    with session(flow.pool) as connection:
        assert prune(connection, Prunable.TASK_DEAD_LETTERS, day["day"]) == 1
