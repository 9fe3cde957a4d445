"""A round of the MaintenanceActor: what the one leader does for all supervisors (DESIGN 3 rule 14)."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.flow import Flow, Worker
from support.leases import Inbox
from support.stored_work import dead_letter, message, send
from support.sub_workflows import Family
from support.waiting import until

from tasker_actors.actors import ActorSystem
from tasker_actors.messages import Maintain, ShowGauges
from tasker_actors.postgres.availability import Availability
from tasker_actors.postgres.session import session
from tasker_actors.postgres.workers import WorkerState, try_lead
from tasker_actors.settings import Settings
from tasker_actors.supervision.maintenance import MaintenanceActor
from tasker_actors.supervision.tracing import SupervisorTracing
from tasker_actors.telemetry import metrics
from tasker_actors.telemetry.logging import get_logger

QUIET = "UPDATE tasker.workers SET heartbeat_at = heartbeat_at - interval '1 minute' RETURNING 1"

Rounds = Callable[..., None]


@pytest.fixture
def shown() -> queue.SimpleQueue[Any]:
    """What the StatsActor is told."""
    return queue.SimpleQueue()


@pytest.fixture
def maintain(flow: Flow, shown: queue.SimpleQueue[Any]) -> Iterator[Rounds]:
    """Do one round for these workers, with these days of retention."""
    system = ActorSystem("supervisor")
    stats = system.start("stats", lambda: Inbox(shown))

    def maintain(*alive: Worker, told: list[Any] | None = None, **retention: int) -> None:
        settings = Settings.model_validate(
            {
                "database": {"restart_grace_ms": 1},
                "maintenance": {"stale_worker_ms": 30_000},
                "retention": retention,
            }
        )
        rounds: list[bool] = []
        actor = system.start(
            "maintenance",
            lambda: MaintenanceActor(
                pool=flow.pool,
                settings=settings,
                settlement=flow.settlement(),
                stats=stats,
                supervisor_id="00000000-0000-0000-0000-000000000000",
                others=rounds.append,
                availability=Availability(get_logger("tests")),
                revive=lambda: None,
                cancel=(lambda leases: (told if told is not None else []).append(dict(leases)),),
                tracing=SupervisorTracing(None, 0.0),
            ),
        )
        actor.tell(Maintain(tuple(WorkerState(one.worker_id, "running", 0) for one in alive)))
        until(lambda: bool(rounds))
        assert system.stop_all(["maintenance"], time.monotonic() + 10) == ()

    yield maintain
    assert system.stop_all([], time.monotonic() + 5) == ()


def worker_states(flow: Flow) -> dict[int, str]:
    return {row["worker_id"]: row["state"] for row in flow.rows("SELECT worker_id, state FROM tasker.workers")}


def test_a_worker_of_a_host_that_vanished_is_settled_and_its_steps_run_elsewhere(flow: Flow, maintain: Rounds):
    (row,) = flow.create(flow.register({"only": []}))
    vanished, lively = Worker(flow), Worker(flow)
    assert len(vanished.claim()) == 1
    flow.rows(QUIET)

    maintain(lively)

    assert worker_states(flow)[vanished.worker_id] == "dead"
    assert worker_states(flow)[lively.worker_id] == "running"
    flow.rows("UPDATE tasker.steps SET run_at = now() RETURNING 1")  # its attempt may have begun: it has a pause
    assert [step.task.task_uuid for step in lively.claim()] == [row.task_uuid]


def test_a_task_whose_waiting_step_was_cancelled_is_cancelled_and_its_handler_told(flow: Flow, maintain: Rounds):
    family = Family(flow)
    (first,) = family.worker.claim()
    flow.cancel(family.row.task_uuid)

    told: list[Any] = []
    maintain(family.worker, told=told)

    assert family.statuses() == ["cancelled"]
    assert told == [{family.worker.worker_id: [first.token]}]


def test_who_does_not_lead_settles_nobody(flow: Flow, maintain: Rounds):
    quiet = Worker(flow)
    flow.rows(QUIET)

    with session(flow.pool) as connection, connection.transaction():
        assert try_lead(connection)
        maintain()
    assert worker_states(flow)[quiet.worker_id] != "dead"

    maintain()
    assert worker_states(flow)[quiet.worker_id] == "dead"


def test_what_is_past_its_retention_is_deleted_and_without_one_nothing_is(flow: Flow, maintain: Rounds):
    (row,) = flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    worker.run()
    old = message(row.correlation_id, fired_at="2020-01-01T00:00:00.000000Z")
    send(flow.pool, "shop_domain_events_dlq", dead_letter(old))
    flow.rows("UPDATE pgmq.q_shop_domain_events_dlq SET enqueued_at = enqueued_at - interval '2 days' RETURNING 1")
    flow.rows("UPDATE tasker.tasks SET completed_at = completed_at - interval '2 days' RETURNING 1")

    def left() -> tuple[int, int]:
        (tasks,) = flow.rows("SELECT count(*) AS n FROM tasker.tasks")
        return tasks["n"], len(flow.queue("shop_domain_events_dlq"))

    maintain(worker)
    assert left() == (1, 1)
    maintain(worker, dead_letters_days=1)
    assert left() == (1, 0)
    maintain(worker, finished_tasks_days=1)
    assert left() == (0, 0)


def test_the_queues_are_shown_with_how_much_waits_in_them(flow: Flow, maintain: Rounds, shown: queue.SimpleQueue[Any]):
    flow.register({"only": []})
    send(flow.pool, "shop_domain_events", {"n": 1}, {"n": 2})

    maintain()

    depths, ages = shown.get(timeout=10), shown.get(timeout=10)
    assert isinstance(depths, ShowGauges)
    assert (depths.metric, ages.metric) == (metrics.QUEUE_DEPTH, metrics.QUEUE_OLDEST_MESSAGE_AGE)
    assert depths.values == {
        ("shop", "shop_domain_events"): 2.0,
        ("shop", "shop_domain_events_dlq"): 0.0,
        ("shop", "steps"): 0.0,
    }


def test_after_an_outage_expired_leases_are_spared_for_a_while(flow: Flow, shown: queue.SimpleQueue[Any]):
    """A server that recovers from a crash keeps its time of start: the leader goes by its own outage too."""
    grace_s = 2.0
    flow.create(flow.register({"only": []}))
    worker = Worker(flow)
    assert len(worker.claim()) == 1
    flow.rows("UPDATE tasker.steps SET run_at = now() - interval '1 s' RETURNING 1")
    system = ActorSystem("supervisor")
    stats = system.start("stats", lambda: Inbox(shown))
    failed_at: list[float] = []
    actor = system.start(
        "maintenance",
        lambda: MaintenanceActor(
            pool=flow.pool,
            settings=Settings.model_validate({"database": {"restart_grace_ms": grace_s * 1000}}),
            settlement=flow.settlement(),
            stats=stats,
            supervisor_id="00000000-0000-0000-0000-000000000000",
            others=lambda _: None,
            availability=Availability(get_logger("tests")),
            revive=lambda: failed_at.append(time.monotonic()),
            cancel=(),
            tracing=SupervisorTracing(None, 0.0),
        ),
    )
    a_round = Maintain((WorkerState(worker.worker_id, "running", 0),))
    try:
        with flow.in_flight("SELECT FROM tasker.workers FOR UPDATE"):
            actor.tell(a_round)
            flow.wait_until_blocked()
            flow.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            until(lambda: bool(failed_at))

        def given_back() -> bool:
            actor.tell(a_round)
            return flow.rows("SELECT state FROM tasker.steps") != [{"state": "in_progress"}]

        until(given_back)
        assert time.monotonic() - failed_at[0] >= grace_s
    finally:
        assert system.stop_all([], time.monotonic() + 10) == ()
