"""Custom publishers and subscribers as users write them, and what they may do wrong (SPEC 2)."""

from __future__ import annotations

import pytest
from support.publishing_project import BUFFER, Difference, publishing, read_lines, received, run
from support.waiting import until


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server):
    with publishing(tmp_path_factory.mktemp("events") / "project", embedded_server) as found:
        yield found


def test_a_publisher_makes_the_payload_and_is_called_after_the_commit(one):
    task_uuid = run(one, "hooks", context={"value": "yes"})

    messages = {row["message"]["event_name"]: row["message"] for row in one.messages("ev", task_uuid)}
    assert messages["hooked.durable"]["payload"] == {"value": "yes", "transformed": True}
    assert messages["hooked.durable"]["metadata"]["custom"] == {"step": "step"}
    assert messages["unhooked.event"]["payload"] == {"value": "yes", "big": ""}

    def after():
        return [note for note in read_lines(one, "hooks") if note.get("task") == task_uuid]

    until(lambda: len(after()) == 2)
    assert [(note["event"], note["status"]) for note in after()] == [
        ("hooked.durable", "complete"),
        ("hooked.fast", "complete"),
    ]
    labels = {"namespace": "ev", "event_name": "hooked.durable", "delivery_mode": "durable", "publisher": "hooks"}
    until(lambda: one.metrics()["tasker_domain_events_published_total"][frozenset(labels.items())] >= 1)


@pytest.mark.parametrize("value", ["should not", "before not"])
def test_a_publisher_that_says_no_ends_its_event_silently(one, value):
    difference = Difference(one)

    task_uuid = run(one, "hooks", context={"value": value})

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["unhooked.event"]
    assert one.dead_letters("ev", task_uuid) == []
    difference.wait("router", total_routed=1, durable_routed=1, routing_errors=0)


def test_a_publisher_that_raises_costs_its_own_event(one):
    difference = Difference(one)

    task_uuid = run(one, "hooks", context={"value": "raise"})

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["unhooked.event"]
    letters = one.dead_letters("ev", task_uuid)
    assert [letter["event"]["event_name"] for letter in letters] == ["hooked.durable", "hooked.fast"]
    assert all("no thanks" in letter["reason"]["message"] for letter in letters)
    difference.wait("router", total_routed=3, durable_routed=1, routing_errors=2)
    until(
        lambda: (
            [note["event"] for note in read_lines(one, "hooks") if note["hook"] == "error"][-2:]
            == ["hooked.durable", "hooked.fast"]
        )
    )


def test_async_hooks_are_run_to_their_end_before_and_after_the_commit(one):
    task_uuid = run(one, "awaits", context={"value": "yes"})

    messages = {row["message"]["event_name"]: row["message"] for row in one.messages("ev", task_uuid)}
    assert messages["awaited.event"]["payload"] == {"awaited": "yes"}
    until(lambda: {"hook": "awaited", "event": "awaited.event", "task": task_uuid} in read_lines(one, "hooks"))

    # Nothing true is an answer too.
    task_uuid = run(one, "awaits", context={"value": None})
    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["unhooked.event"]
    assert one.dead_letters("ev", task_uuid) == []


def test_an_async_hook_that_awaits_for_ever_costs_its_event_and_not_its_worker(one):
    before = one.worker_pids()

    task_uuid = run(one, "awaits", context={"value": "for ever"})

    assert [row["message"]["event_name"] for row in one.messages("ev", task_uuid)] == ["unhooked.event"]
    (letter,) = one.dead_letters("ev", task_uuid)
    assert "did not return in time" in letter["reason"]["message"]

    failures = len(one.logged("a publisher's hook failed after the commit"))
    task_uuid = run(one, "awaits", context={"value": "for ever after"})
    assert len(one.messages("ev", task_uuid)) == 2
    until(lambda: len(one.logged("a publisher's hook failed after the commit")) == failures + 1)
    assert "HookTimeoutError" in one.logged("a publisher's hook failed after the commit")[-1]["error"]
    assert one.worker_pids() == before


@pytest.mark.parametrize("name", ["bad", "hang", "endless"])
def test_a_subscriber_that_fails_or_hangs_harms_nobody_else(one, name):
    difference = Difference(one)

    task_uuid = run(one, name)

    for subscriber in ("function", "class", "async"):
        until(lambda name=subscriber: len(received(one, name, task_uuid)) == 1)
    difference.wait("in_process_bus", total_events_dispatched=1, rust_handler_dispatches=1, rust_handler_errors=1)
    difference.wait("router", fast_routed=1, fast_delivery_errors=0)
    # The same subscriber takes the next event.
    run(one, name)
    difference.wait("in_process_bus", rust_handler_errors=2)


def test_a_slow_subscriber_loses_its_oldest_events_and_each_is_counted(tmp_path, embedded_server):
    with publishing(tmp_path / "project", embedded_server, dispatch_timeout_ms=60_000) as one:
        task_uuids = [run(one, "slow") for _ in range(1 + 3 + BUFFER)]
        for name in ("function", "class", "async"):
            until(lambda name=name: len(read_lines(one, name)) == len(task_uuids))
        until(lambda: one.event_stats()["in_process_bus"]["subscriber_drops"] == 3)

        (one.log.parent / "slow.open").touch()

        # The first was in the subscriber's hands, and the next three were the oldest in its buffer.
        until(lambda: len(read_lines(one, "slow")) == 1 + BUFFER)
        delivered = [event["metadata"]["task_uuid"] for event in read_lines(one, "slow")]
        assert delivered == [task_uuids[0], *task_uuids[4:]]
        assert one.event_stats()["in_process_bus"]["total_events_dispatched"] == len(task_uuids)
        until(lambda: one.metrics()["tasker_domain_events_dropped_total"][frozenset({("channel", "subscriber")})] == 3)
