"""How many steps a worker may hold, and for how many executors they are worth waking (DESIGN 3 rules 10 and 15)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.steps.capacity import Capacity


def measured(*batches: list[float], concurrency: int = 8, prefetch: int = 256) -> Capacity:
    capacity = Capacity(concurrency, prefetch)
    for durations in batches:
        capacity.measure(durations)
    return capacity


def test_before_anything_was_measured_only_executors_are_fed():
    assert measured().total == 8
    assert measured([]).total == 8


@pytest.mark.parametrize(("duration_ms", "total"), [(10_000, 8), (200, 8 + 4), (100, 8 + 8), (10, 8 + 80)])
def test_about_100_ms_of_measured_work_is_fetched_ahead(duration_ms: float, total: int):
    assert measured([duration_ms]).total == total


@pytest.mark.parametrize("duration_ms", [0.0, 0.01, 1.0])
def test_the_setting_bounds_what_is_fetched_ahead(duration_ms: float):
    assert measured([duration_ms], prefetch=16).total == 24


def test_one_odd_batch_moves_the_average_a_little_only():
    assert measured([100.0]).total == 16
    assert measured([100.0], [0.0]).total == 8 + 10
    assert measured([100.0], [1000.0]).total == 8 + 2


def test_a_batch_counts_as_one_whatever_its_size():
    assert measured([100.0] * 50, [0.0]).total == measured([100.0], [0.0] * 50).total


def test_while_the_worker_drains_there_is_no_place():
    capacity = measured([1.0])
    capacity.closed = True

    assert (capacity.total, capacity.free(0)) == (0, 0)


def test_what_is_held_takes_places_and_never_makes_them_negative():
    capacity = measured([100.0])

    assert [capacity.free(held) for held in (0, 10, 16, 17, 300)] == [16, 6, 0, 0, 0]


def test_short_steps_are_not_worth_a_thread_each():
    assert measured().executors_for(5) == 5
    assert measured([50.0]).executors_for(5) == 5
    assert measured([0.1]).executors_for(5) == 1
    assert measured([0.1]).executors_for(0) == 0


@given(
    durations=st.lists(st.lists(st.floats(0, 1e7), max_size=5), max_size=5),
    concurrency=st.integers(1, 64),
    prefetch=st.integers(0, 1000),
    held=st.integers(0, 5000),
)
def test_places_stay_within_concurrency_and_prefetch(durations, concurrency, prefetch, held):
    capacity = measured(*durations, concurrency=concurrency, prefetch=prefetch)

    assert concurrency <= capacity.total <= concurrency + prefetch
    assert 0 <= capacity.free(held) <= capacity.total
    assert (held > 0) <= capacity.executors_for(held) <= held
