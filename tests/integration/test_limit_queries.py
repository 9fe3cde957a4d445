"""What clients and gauges see of limits."""

from __future__ import annotations

import orjson
from support.api_runtime import RecordingRuntime, serving
from support.flow import Flow, Worker

from tasker_actors.postgres.limits import list_limits
from tasker_actors.postgres.queue_depths import read_queue_depths
from tasker_actors.web.limit_routes import LimitList

LIMITS = [
    {"scope": "namespace", "max_concurrent": 3, "name": "bank"},
    {"scope": "context", "field": "customer.id", "max_concurrent": 1},
    {"scope": "step", "rate": 4, "period_seconds": 3600},
]


def shown(flow: Flow, namespace: str | None = None, limit: int = 100) -> list[tuple[str, str | None, int, int, int]]:
    found = list_limits(flow.pool, namespace=namespace, limit=limit)
    return [(row["name"], row["value"], row["limit"], row["in_use"], row["parked"]) for row in found]


def test_limits_are_listed_by_key_those_first_for_which_most_steps_wait(flow: Flow):
    registered = flow.register({"only": []}, limits=LIMITS)
    flow.register({"only": []}, limits=LIMITS[:1], namespace="cafe")
    assert shown(flow) == [("bank", None, 3, 0, 0), ("bank", None, 3, 0, 0), ("work/only/rate", None, 4, 0, 0)]
    for customer in ("ann", "ann", "ann", "bob", "cy", "dora"):
        flow.create(registered, context=orjson.dumps({"customer": {"id": customer}}))

    Worker(flow).claim()

    assert shown(flow, "shop") == [
        ("work/only[customer.id]/concurrency", "ann", 1, 1, 2),
        ("bank", None, 3, 3, 1),
        ("work/only/rate", None, 4, 3, 0),
        ("work/only[customer.id]/concurrency", "bob", 1, 1, 0),
        ("work/only[customer.id]/concurrency", "cy", 1, 1, 0),
    ]
    assert len(shown(flow)) == 6
    assert shown(flow, "cafe") == [("bank", None, 3, 0, 0)]
    assert shown(flow, "nothing") == []
    assert len(shown(flow, limit=2)) == 2


def test_a_client_gets_them_as_the_document_says(flow: Flow):
    flow.create(flow.register({"only": []}, limits=[{"scope": "step", "rate": 1, "period_seconds": 60}]), 3)
    Worker(flow).claim()
    with serving(RecordingRuntime(flow.pool)) as client:
        answer = client.get("/v1/limits", params={"namespace": "shop", "limit": 5})
        refused = client.get("/v1/limits", params={"limit": 0})

    assert answer.status_code == 200
    (found,) = LimitList.model_validate_json(answer.content).limits
    assert (found.kind, found.scope, found.in_use, found.parked, found.field) == ("rate", "step", 1, 2, None)
    assert found.opens_at is not None
    assert refused.status_code == 422


def test_who_waits_for_a_place_waits_in_the_queue_of_steps(flow: Flow):
    limited = flow.register({"only": []}, limits=[{"scope": "step", "max_concurrent": 1}])
    flow.create(limited, 4, priority=1000)
    flow.create(flow.register({"only": []}, name="plain"))
    flow.rows(
        "UPDATE tasker.steps SET updated_at = updated_at - interval '90 s' WHERE limit_keys IS NOT NULL RETURNING 1"
    )
    worker = Worker(flow)
    worker.claim(1)
    worker.claim(4)

    with flow.pool.connection() as connection:
        (depth,) = [depth for depth in read_queue_depths(connection) if depth.queue == "steps"]

    assert flow.rows("SELECT count(*) AS n FROM tasker.steps WHERE state = 'enqueued' AND run_at IS NULL") == [{"n": 3}]
    assert depth.depth == 3
    assert 90 <= depth.oldest_age_s < 3600
