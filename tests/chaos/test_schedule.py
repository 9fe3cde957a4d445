"""The same seed breaks the same things at the same times; every kind of thing is broken."""

from __future__ import annotations

from collections import Counter

import pytest
from chaos.schedule import HABITS, LAST_SUPERVISOR, FaultKind, make_schedule


def test_a_seed_gives_the_same_schedule_again_and_another_seed_another_one():
    assert make_schedule(7, 600) == make_schedule(7, 600)
    assert make_schedule(7, 600) != make_schedule(8, 600)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_once_before_any_comes_twice_if_there_is_time(seed):
    kinds = [fault.kind for fault in make_schedule(seed, 120)]
    once = kinds[: len(FaultKind)]
    # What ends a supervisor has no place in the last part, and has come before.
    assert set(once) == set(FaultKind)
    assert Counter(once).most_common(1)[0][1] == 1


@pytest.mark.parametrize("seed", range(20))
def test_times_rise_choices_are_shares_and_the_last_supervisor_is_left_alone(seed):
    schedule = make_schedule(seed, 300)
    assert [fault.at_s for fault in schedule] == sorted(fault.at_s for fault in schedule)
    assert schedule[-1].at_s < 300
    for fault in schedule:
        habit = HABITS[fault.kind]
        assert 0 <= fault.choice < 1
        assert habit.least_s <= fault.duration_s <= habit.most_s
        assert not (habit.ends_supervisor and fault.at_s >= 300 * LAST_SUPERVISOR)


def test_every_kind_has_a_habit():
    assert set(HABITS) == set(FaultKind)
