"""Rates by key: no period has more starts than allowed, whenever it begins, and the next one comes when it is due."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.backlog import add_backlog
from support.effort import examples
from support.flow import Flow, Worker
from support.leases import MIB, finish, returned

from tasker_actors.postgres.limits import repair_limits
from tasker_actors.postgres.session import session

THREE_A_MINUTE = {"scope": "step", "rate": 3, "period_seconds": 60}
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_FAR_AWAY_SECONDS = 1_000_000_000
_PAUSES = st.integers(0, 1000).map(lambda number: number / 1000) | st.sampled_from([0.952, 0.975, 0.999, 1.0, 1.049])
"""Between two claims, as a part of the period; what is interesting is close to its end."""


def pass_time(flow: Flow, seconds: float) -> None:
    """Let time pass for what began and for what is to be opened."""
    # Rows move one after the other, and none may come to where another still stands: first they all go far away.
    for away in (_FAR_AWAY_SECONDS, seconds - _FAR_AWAY_SECONDS):
        flow.rows("UPDATE tasker.limit_starts SET slot_at = slot_at - make_interval(secs => %s) RETURNING 1", away)
    flow.rows("UPDATE tasker.limit_openings SET opens_at = opens_at - make_interval(secs => %s) RETURNING 1", seconds)


def test_so_many_begin_in_a_period_whatever_becomes_of_them(flow: Flow):
    flow.create(flow.register({"only": []}, limits=[THREE_A_MINUTE]), 7)
    worker = Worker(flow)

    steps = worker.claim()
    assert len(steps) == 3
    worker.commit(finish(steps[0]), returned(steps[1]))
    claimed = worker.claimer.claim(10, MIB)

    assert claimed is not None
    assert [*claimed.steps] == []
    assert 50_000 < (claimed.next_run_in_ms or 0) <= 64_000, "the moment when the first may be forgotten"
    assert flow.rows("SELECT count(*) AS n FROM tasker.limit_openings") == [{"n": 1}]
    pass_time(flow, 50)
    assert worker.claim() == []
    pass_time(flow, 14)
    assert len(worker.claim()) == 3
    pass_time(flow, 64)
    assert len(worker.claim()) == 2, "one had been given back, two had never begun"
    assert worker.claim() == []


def test_a_worker_with_room_hears_when_the_next_one_may_begin_although_it_got_some(flow: Flow):
    flow.create(flow.register({"only": []}, limits=[{"scope": "step", "rate": 2, "period_seconds": 1}]), 5)

    claimed = Worker(flow).claimer.claim(10, MIB)

    assert claimed is not None
    assert (len(claimed.steps), claimed.more) == (2, False)
    assert 0 < (claimed.next_run_in_ms or 0) <= 1100


def test_steps_that_come_later_wait_for_the_same_moment(flow: Flow):
    registered = flow.register({"only": []}, limits=[THREE_A_MINUTE])
    flow.create(registered, 4)
    worker = Worker(flow)
    worker.claim()
    (urgent,) = flow.create(registered, priority=1)
    assert worker.claim() == []

    assert flow.rows("SELECT count(*) AS n FROM tasker.limit_openings") == [{"n": 1}]
    pass_time(flow, 64)
    assert worker.claim()[0].task.task_uuid == urgent.task_uuid


def test_each_value_of_a_field_has_a_rate_of_its_own(flow: Flow):
    limit = {"scope": "context", "field": "customer", "rate": 1, "period_seconds": 60}
    registered = flow.register({"only": []}, limits=[limit])
    for customer in (1, 1, 2):
        flow.create(registered, context=orjson.dumps({"customer": customer}))

    assert len(Worker(flow).claim()) == 2


def test_a_step_with_a_rate_and_a_number_of_places_needs_both(flow: Flow):
    limits = [THREE_A_MINUTE, {"scope": "step", "max_concurrent": 2}]
    flow.create(flow.register({"only": []}, limits=limits), 6)
    worker = Worker(flow)

    two = worker.claim_all()
    assert len(two) == 2
    worker.commit(*(finish(step) for step in two))
    (one,) = worker.claim_all()
    worker.commit(finish(one))
    assert worker.claim_all() == []
    pass_time(flow, 64)
    assert len(worker.claim_all()) == 2


def test_a_higher_rate_holds_at_once(flow: Flow):
    flow.create(flow.register({"only": []}, limits=[{**THREE_A_MINUTE, "scope": "namespace"}], name="old"), 9)
    worker = Worker(flow)
    assert len(worker.claim()) == 3
    flow.register({"only": []}, limits=[{"scope": "namespace", "rate": 5, "period_seconds": 60}], name="new")

    assert len(worker.claim()) == 2


def test_a_rate_whose_opening_was_lost_is_repaired_and_what_began_long_ago_forgotten(flow: Flow):
    flow.create(flow.register({"only": []}, limits=[THREE_A_MINUTE]), 5)
    worker = Worker(flow)
    worker.claim()
    flow.rows("DELETE FROM tasker.limit_openings RETURNING 1")
    with session(flow.pool) as connection:
        assert [repair_limits(connection), repair_limits(connection)] == [1, 0]
    pass_time(flow, 64)
    assert len(worker.claim()) == 2

    pass_time(flow, 10 * 86_400)
    with session(flow.pool) as connection:
        repair_limits(connection)
    assert flow.rows("SELECT * FROM tasker.limit_starts") == []


def test_a_crowd_at_a_rate_is_met_once(flow: Flow):
    add_backlog(flow, flow.register({"only": []}, limits=[THREE_A_MINUTE]), 2500)
    worker = Worker(flow)

    assert len(worker.claim_all()) == 3
    assert flow.rows("SELECT count(*) AS n FROM tasker.steps WHERE run_at IS NULL") == [{"n": 2497}]
    pass_time(flow, 64)
    assert len(worker.claim_all()) == 3


def test_a_clock_that_was_set_back_does_not_hold_a_rate_for_longer_than_its_period(flow: Flow):
    flow.create(flow.register({"only": []}, limits=[THREE_A_MINUTE]), 5)
    worker = Worker(flow)
    assert len(worker.claim()) == 3
    pass_time(flow, -3600)
    flow.rows("DELETE FROM tasker.limit_openings RETURNING 1")
    with session(flow.pool) as connection:
        repair_limits(connection)

    assert len(worker.claim()) == 2


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.integers(1, 6),
    period=st.sampled_from([1, 7, 60, 3600]),
    pauses=st.lists(st.tuples(_PAUSES, st.integers(0, 4)), min_size=4, max_size=25),
)
def test_the_room_of_a_rate_keeps_every_period_within_it_and_opens_in_time(
    flow: Flow, rate: int, period: int, pauses: list[tuple[float, int]]
):
    """Against a log of all starts, which is exact and too long to keep: claims at any moments, of any number."""
    flow.rows("DELETE FROM tasker.limit_starts RETURNING 1")
    (row,) = flow.rows(
        "INSERT INTO tasker.limits (namespace, scope, name, kind, rate, period_seconds)"
        " VALUES ('shop', 'namespace', 'rate', 'rate', %s, %s) ON CONFLICT (namespace, scope, name, kind)"
        " DO UPDATE SET rate = excluded.rate, period_seconds = excluded.period_seconds"
        " RETURNING 'r' || limit_id || ':' AS key",
        *(rate, period),
    )
    now = _EPOCH
    starts: list[datetime] = []
    for pause, wanted in pauses:
        now += timedelta(seconds=pause * period)
        (room,) = flow.rows("SELECT room, opens_at FROM tasker.limit_room_v1(ARRAY[%s], %s)", row["key"], now)
        recent = [start for start in starts if start > now - timedelta(seconds=period)]
        older = [start for start in starts if start > now - timedelta(seconds=period * 1.06)]
        assert rate - len(older) <= room["room"] <= rate - len(recent)
        if room["room"] <= 0:
            assert now < room["opens_at"] <= starts[-rate] + timedelta(seconds=period * 1.05 + 0.01)
        taken = min(wanted, max(0, room["room"]))
        starts += [now] * taken
        if taken:
            flow.rows(
                "INSERT INTO tasker.limit_starts AS c SELECT %s, tasker.limit_slot(%s, %s), %s"
                " ON CONFLICT (limit_key, slot_at) DO UPDATE SET count = c.count + excluded.count RETURNING 1",
                *(row["key"], now, period, taken),
            )
    for index in range(len(starts) - rate):
        assert starts[index + rate] - starts[index] >= timedelta(seconds=period), "one period had more than the rate"


@pytest.mark.parametrize("rate", [1, 20])
def test_in_the_long_run_little_less_than_the_rate_is_used(flow: Flow, rate: int):
    flow.create(
        flow.register({"only": []}, limits=[{"scope": "step", "rate": rate, "period_seconds": 10}]), 5 * rate + 1
    )
    worker = Worker(flow)
    begun = len(worker.claim(1000))
    for _ in range(4):
        pass_time(flow, 10.6)
        begun += len(worker.claim(1000))

    assert begun == 5 * rate


def test_what_a_claim_gives_after_waiting_for_its_key_begins_then(flow: Flow):
    """If it counted from the beginning of the claim, the period that follows would have twice as many."""
    flow.create(flow.register({"only": []}, limits=[{"scope": "step", "rate": 3, "period_seconds": 20}]), 5)
    worker = Worker(flow)
    keys = flow.rows("SELECT DISTINCT unnest(limit_keys) AS key FROM tasker.steps")[0]["key"]
    claims = threading.Thread(target=worker.claim)
    lock = "SELECT pg_advisory_xact_lock(tasker.limit_lock_class(), hashtext(%s))"
    with flow.in_flight(lock, keys) as connection:
        claims.start()
        flow.wait_until_blocked()
        connection.execute("SELECT pg_sleep(1.1)")  # a slot of this period is a second
        (released_at,) = connection.execute("SELECT clock_timestamp()").fetchone() or ()
    claims.join()

    ((began,),) = (row.values() for row in flow.rows("SELECT slot_at FROM tasker.limit_starts"))
    assert began > released_at - timedelta(seconds=1)
