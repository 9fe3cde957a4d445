"""When a dead worker is started again, and when the supervisor gives up (DESIGN G11)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.supervision.restart_budget import RestartBudget


def budget(limit: int = 5, overall: int | None = None) -> RestartBudget:
    return RestartBudget(limit=limit, limit_overall=overall, window_s=30.0, backoff_s=0.1, backoff_max_s=1.0)


def test_pauses_double_from_the_first_crash_of_a_slot_on_and_are_bounded():
    one = budget(limit=10)

    assert [one.crashed(0, 2, float(moment)).delay_s for moment in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert one.crashed(1, 2, 6.0).delay_s == 0.1


def test_more_crashes_of_a_slot_in_a_window_than_the_limit_are_the_end():
    one = budget(limit=3)

    assert [one.crashed(7, 1, float(moment)).exceeded for moment in range(4)] == [
        *[None] * 3,
        "the worker in slot 7 crashed more than 3 times within 30000 ms",
    ]


def test_crashes_that_are_long_over_do_not_count():
    one = budget(limit=2)
    after = [one.crashed(0, 1, moment) for moment in (0.0, 1.0, 30.5, 31.5, 32.0)]

    assert [one.delay_s for one in after[:4]] == [0.1, 0.2, 0.2, 0.2]
    assert [one.exceeded is None for one in after] == [True, True, True, True, False]


def test_a_limit_of_zero_allows_no_crash():
    assert budget(limit=0).crashed(0, 4, 0.0).exceeded is not None


def test_crashes_of_many_slots_are_limited_together():
    one = budget(limit=5, overall=4)

    exceeded = [one.crashed(slot, 8, 1.0).exceeded for slot in range(5)]
    assert exceeded == [*[None] * 4, "workers crashed more than 4 times in all within 30000 ms"]


@given(slots=st.integers(1, 64), limit=st.integers(1, 10))
def test_what_ends_every_worker_once_is_no_crash_loop(slots, limit):
    one = budget(limit)

    assert all(one.crashed(slot, slots, 0.0).exceeded is None for slot in range(slots))
    assert [one.crashed(0, slots, 1.0).exceeded is None for _ in range(limit)] == [*[True] * (limit - 1), False]


crashes = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 4)), max_size=60)


@given(crashes, st.integers(0, 8), st.none() | st.integers(0, 12))
def test_it_gives_up_exactly_when_a_window_has_too_many_crashes_of_one_slot_or_of_all(gaps, limit, overall):
    one, now = budget(limit, overall), 0.0
    before: list[tuple[float, int]] = []
    for gap, slot in gaps:
        now += gap
        before.append((now, slot))
        recent = [crashed for moment, crashed in before if moment > now - 30.0]
        most = limit + 5 if overall is None else overall
        after = one.crashed(slot, 5, now)
        assert (after.exceeded is not None) == (recent.count(slot) > limit or len(recent) > most)
        assert 0.1 <= after.delay_s <= 1.0
