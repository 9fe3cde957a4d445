"""When a dead worker is started again, and when the supervisor gives up (DESIGN G11)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.supervision.restart_budget import RestartBudget


def budget(limit: int = 5) -> RestartBudget:
    return RestartBudget(limit=limit, window_s=30.0, backoff_s=0.1, backoff_max_s=1.0)


def test_pauses_double_from_the_first_crash_on_and_are_bounded():
    one = budget(limit=10)

    assert [one.crashed(float(moment)) for moment in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_more_crashes_in_a_window_than_the_limit_are_the_end():
    one = budget(limit=3)

    assert [one.crashed(float(moment)) is None for moment in range(4)] == [False, False, False, True]


def test_crashes_that_are_long_over_do_not_count():
    one = budget(limit=2)

    assert [one.crashed(moment) for moment in (0.0, 1.0, 30.5, 31.5, 32.0)] == [0.1, 0.2, 0.2, 0.2, None]


def test_a_limit_of_zero_allows_no_crash():
    assert budget(limit=0).crashed(0.0) is None


@given(st.lists(st.floats(0, 1000), max_size=40), st.integers(1, 10))
def test_it_gives_up_exactly_when_a_window_has_too_many_crashes(gaps, limit):
    one, now = budget(limit), 0.0
    moments: list[float] = []
    for gap in gaps:
        now += gap
        moments.append(now)
        recent = [moment for moment in moments if moment > now - 30.0]
        assert (one.crashed(now) is None) == (len(recent) > limit)
