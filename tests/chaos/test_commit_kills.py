"""`kill -9` of a worker at each point of its commit: all of it happened, or nothing (DESIGN G1, 3 rules 4 to 6).

`EXPERIMENT_SCALE=n` kills n times as often.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from support.cutting_proxy import CuttingProxy
from support.monotone import monotone
from support.project import Project
from support.scale import SCALE
from support.supervised import kill, supervised
from support.waiting import until

HANDLERS = """
from tasker_actors import step_handler

@step_handler("step")
def step(context):
    return {"step": context.step_name}
"""
STEPS = ("one", "two", "three")
RETRY = {"max_attempts": 100, "backoff": "none"}
KILLS = 4 * SCALE
POINTS = ("request", "running", "reply", "row")
A_WORKERS_COMMIT = b'"lease_ms":5000'


@pytest.fixture
def project(tmp_path) -> Project:
    project = Project(tmp_path / "project")
    project.module("commit_handlers", HANDLERS)
    project.template(
        "chain",
        {
            name: {
                "handler": "step",
                "retry": RETRY,
                "publishes_events": [{"name": f"chain.{name}"}],
                "dependencies": STEPS[:i][-1:],
            }
            for i, name in enumerate(STEPS)
        },
        namespace="commits",
    )
    return project


@pytest.fixture
def proxied(embedded_server) -> Iterator[tuple[str, CuttingProxy]]:
    with embedded_server.database(migrated=True) as url:
        proxy = CuttingProxy(url)
        yield url, proxy
        proxy.close()


def test_a_worker_that_is_killed_in_a_commit_has_committed_all_of_it_or_nothing(project, proxied):
    url, proxy = proxied
    limits = {"TASKER_WORKER__RESTART_LIMIT": "1000"}
    with supervised(project, proxy.url, variables=limits) as one, monotone(one):
        one.database_url = url
        killed: Counter[str] = Counter()

        def killer(point: str):
            def strike(request: bytes) -> None:
                found = re.search(rb'"worker":(\d+)', request)
                assert found is not None
                (worker,) = one.rows("SELECT pid FROM tasker.workers WHERE worker_id = %s", int(found[1]))
                if worker["pid"] is not None:
                    kill(worker["pid"])
                    killed[point] += 1

            return strike

        tasks = 0
        while killed.total() < KILLS:
            before = proxy.cuts
            point = POINTS[before % len(POINTS)]
            proxy.cut(A_WORKERS_COMMIT, point, killer(point))
            one.create_many("chain", 10, namespace="commits")
            tasks += 10
            until(lambda before=before: proxy.cuts > before, 60)
        until(lambda: one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL")[0]["n"] == 0, 120)

        assert set(killed) == set(POINTS)
        assert Counter(row["status"] for row in one.rows("SELECT status FROM tasker.tasks")) == {"complete": tasks}
        steps = one.rows("SELECT state, token, result ->> 'step' = name AS fits FROM tasker.steps")
        assert Counter((row["state"], row["token"], row["fits"]) for row in steps) == {
            ("complete", None, True): tasks * len(STEPS)
        }
        completed = one.rows(
            "SELECT count(*) AS n FROM tasker.step_attempts WHERE outcome = 'complete' GROUP BY task_uuid, position"
        )
        assert [row["n"] for row in completed] == [1] * (tasks * len(STEPS))
        messages = [row["message"] for row in one.queue("commits_domain_events")]
        assert Counter(message["event_name"] for message in messages) == {f"chain.{name}": tasks for name in STEPS}
        assert len({(message["metadata"]["step_uuid"], message["event_name"]) for message in messages}) == len(messages)
        assert len({message["event_id"] for message in messages}) == len(messages)
        until(lambda: one.event_stats()["router"]["durable_routed"] == len(messages))
        assert set(one.restarts()) == {"signal"}
