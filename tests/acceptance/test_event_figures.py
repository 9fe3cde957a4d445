"""The figures of events: the counters add up, and agree with the queue and with Prometheus (SPEC 3, 4.3)."""

from __future__ import annotations

from collections import Counter

import pytest
from support.publishing_project import Difference, publishing, run


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    with publishing(tmp_path_factory.mktemp("events") / "project", embedded_server) as found:
        yield found


def test_the_figures_add_up_and_agree_with_the_queue_and_with_prometheus(one):
    """Published by steps, by failures, by code, from outside; refused; published after all: all three views agree."""
    difference = Difference(one)
    run(one, "modes")
    run(one, "conditions", "retryable", "success")
    run(one, "unpublishable")
    run(one, "hooks", context={"value": "raise"})
    (letter,) = one.dead_letters("ev", run(one, "schema", context={"value": 3}))
    redrive = {"namespace": "ev", "event_ids": [letter["event"]["event_id"]], "payload": {"value": 12}}
    one.http.post("/v1/events/dlq/redrive", json=redrive).raise_for_status()
    outside = {"name": "seen.outside", "namespace": "ev", "payload": {}, "delivery_mode": "broadcast"}
    one.http.post("/v1/events", json=outside).raise_for_status()
    difference.wait("router", total_routed=3 + 5 + 7 + 3 + 2 + 1, routing_errors=6 + 2 + 1)

    stats = one.event_stats()
    router = stats["router"]
    assert router["total_routed"] == sum(
        router[name] for name in ("durable_routed", "fast_routed", "broadcast_routed", "routing_errors")
    )
    assert stats["workers"][0]["router"] == router
    queue = [row["message"] for row in one.queue("ev_domain_events")]
    in_queue = Counter(message["event_name"] for message in queue)
    assert in_queue.pop("with.schema") == 1  # no worker has published this one: it was refused, and redriven
    assert router["durable_routed"] + router["broadcast_routed"] == len(queue) - 1
    metrics = one.metrics()
    for name, value in router.items():
        sample = {"total_routed": "router_routed_total"}.get(name, f"router_{name}_total")
        assert sum(metrics[sample].values()) == value
    counted: Counter[str] = Counter()
    for labels, value in metrics["tasker_domain_events_published_total"].items():
        if dict(labels)["delivery_mode"] != "fast":
            counted[dict(labels)["event_name"]] += int(value)
    assert +counted == in_queue
    assert sum(metrics["tasker_domain_events_failed_total"].values()) == router["routing_errors"]
    assert sum(metrics["tasker_domain_events_refusals_total"].values()) == router["routing_errors"]
    durations = metrics["tasker_domain_events_publish_duration_milliseconds_count"]
    assert sum(durations.values()) == router["total_routed"]
