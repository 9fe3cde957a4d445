"""`kill -9` of workers under load: every result once, only the step that kills is charged, counters exact."""

from __future__ import annotations

from collections import Counter

import pytest
from support.monotone import monotone
from support.project import Project
from support.supervised import kill, supervised
from support.waiting import until

CHAINS = 250
KILLS = 5

HANDLERS = """
import os, signal, threading
from tasker_actors import step_handler

@step_handler("work")
def work(context):
    threading.Event().wait(0.004)
    return {"step": context.step_name}

@step_handler("poison")
def poison(context):
    if context.get_input("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait(0.03)
    return {}
"""

EVENTS = {
    "one": [{"name": "chain.one"}],
    "two": [{"name": "chain.two", "delivery_mode": "broadcast"}, {"name": "chain.seen", "delivery_mode": "fast"}],
    "three": [{"name": "chain.three", "condition": "always"}],
    "four": [{"name": "chain.four"}],
}
RETRY = {"max_attempts": 20, "backoff": "none"}


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path / "project")
    project.module("kill_handlers", HANDLERS)
    names = list(EVENTS)
    project.template(
        "chain",
        {
            name: {"handler": "work", "publishes_events": EVENTS[name], "retry": RETRY, "dependencies": names[:i][-1:]}
            for i, name in enumerate(names)
        },
        namespace="chains",
    )
    project.template(
        "pill",
        {
            "swallow": {
                "handler": "poison",
                "retry": {"max_attempts": 2, "backoff": "none"},
                "publishes_events": [
                    {"name": "pill.lost", "condition": "permanent_failure"},
                    {"name": "pill.retried", "condition": "retryable_failure"},
                    {"name": "pill.seen", "condition": "always", "delivery_mode": "fast"},
                    {"name": "pill.done"},
                ],
            },
        },
        namespace="pills",
    )
    return project


def test_killed_workers_cost_no_result_no_event_and_no_count(project, embedded_server):
    """Workers are killed in the middle of hundreds of chains, and the figures are scraped all the while."""
    limits = {
        "TASKER_WORKER__RESTART_LIMIT": "1000",
        "TASKER_DATABASE__POLL_INTERVAL_MS": "50",
        # Every end is a kill of this test: on a busy machine no worker counts as hung, and no lease ends.
        "TASKER_WORKER__HANG_TIMEOUT_MS": "60000",
        "TASKER_WORKER__LEASE_MS": "90000",
    }
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, variables=limits) as one,
        monotone(one),
    ):
        one.create_many("chain", CHAINS, namespace="chains")
        killed = 0

        def done() -> int:
            return int(one.rows("SELECT count(*) AS n FROM tasker.steps WHERE state = 'complete'")[0]["n"])

        for number in range(KILLS):
            wanted = (number + 1) * CHAINS * 4 // (KILLS + 2)
            # On a fast machine both may have been killed before one of their successors is there.
            until(lambda wanted=wanted: done() >= wanted and bool(one.worker_pids()), 60)
            pids = sorted(one.worker_pids())
            victim = pids[number % len(pids)]
            kill(victim)
            killed += 1
            until(lambda victim=victim: victim not in one.worker_pids())
        until(lambda: done() == CHAINS * 4, 90)

        states = Counter(row["status"] for row in one.rows("SELECT status FROM tasker.tasks"))
        assert states == {"complete": CHAINS}
        queue = [row["message"] for row in one.queue("chains_domain_events")]
        by_name = Counter(message["event_name"] for message in queue)
        assert by_name == dict.fromkeys(("chain.one", "chain.two", "chain.three", "chain.four"), CHAINS)
        assert len({message["event_id"] for message in queue}) == CHAINS * 4
        assert len({(message["metadata"]["step_uuid"], message["event_name"]) for message in queue}) == CHAINS * 4
        assert {message["execution"]["status"] for message in queue} == {"complete"}

        until(lambda: sum(one.restarts().values()) == killed)
        assert set(one.restarts()) == {"signal"}
        one.wait_workers(lambda workers: len(workers) == 2)
        figures_of_router = one.event_stats()["router"]
        assert (figures_of_router["durable_routed"], figures_of_router["broadcast_routed"]) == (CHAINS * 3, CHAINS)
        assert figures_of_router["fast_routed"] <= CHAINS
        published = one.metrics()["tasker_domain_events_published_total"]
        exact = {dict(labels)["event_name"]: int(value) for labels, value in published.items()}
        assert {name: exact[name] for name in by_name} == by_name
        assert one.rows("SELECT count(*) AS n FROM tasker.step_attempts WHERE outcome = 'error'") == [{"n": 0}]


def test_a_step_that_kills_its_worker_is_the_only_one_that_pays(project, embedded_server):
    """One poisonous task among a hundred innocent ones: it fails with worker_lost, they do not even lose an attempt."""
    with embedded_server.database(migrated=True) as url, supervised(project, url) as one:
        body = [
            {"name": "pill", "namespace": "pills", "context": {"poison": number == 50}, "tags": [str(number)]}
            for number in range(101)
        ]
        made = one.http.post("/v1/tasks/batch", json={"tasks": body}).json()["tasks"]
        poisonous = made[50]["task_uuid"]

        until(lambda: one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL")[0]["n"] == 0, 60)

        assert Counter(row["status"] for row in one.rows("SELECT status FROM tasker.tasks")) == {
            "complete": 100,
            "error": 1,
        }
        assert one.task(poisonous)["status"] == "error"
        charged = one.rows(
            "SELECT task_uuid, attempt, outcome, error ->> 'error_type' AS error_type FROM tasker.step_attempts"
            " WHERE outcome NOT IN ('complete', 'lost') ORDER BY token"
        )
        assert [(str(row["task_uuid"]), row["attempt"], row["outcome"], row["error_type"]) for row in charged] == [
            (poisonous, 1, "waiting_for_retry", "worker_lost"),
            (poisonous, 2, "error", "worker_lost"),
        ]
        assert one.rows("SELECT DISTINCT attempts FROM tasker.steps WHERE state = 'complete'") == [{"attempts": 1}]

        messages = [row["message"] for row in one.messages("pills", poisonous)]
        assert [message["event_name"] for message in messages] == ["pill.lost"]
        assert messages[0]["payload"]["error_type"] == "worker_lost"
        assert messages[0]["payload"]["attempt"] == messages[0]["payload"]["max_attempts"] == 2
        assert messages[0]["execution"]["status"] == "error"
        routed = one.event_stats()["router"]
        until(lambda: one.event_stats()["router"]["durable_routed"] == 101)
        assert routed["routing_errors"] == 0
