"""When a worker has lived long enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.supervision.recycling import RecycleLimits, Usage

amounts = st.none() | st.integers(1, 10**9)
shares = st.floats(0, 1)
chances = st.floats(0, 1, exclude_max=True)
limits = st.builds(RecycleLimits, amounts, amounts, amounts)


def values(limits: RecycleLimits) -> list[float | None]:
    return [limits.steps, limits.age_s, limits.memory_bytes]


@given(limits, shares, chances)
def test_jitter_lowers_every_limit_by_the_same_share_and_no_more_than_it_may(given_limits, jitter, chance):
    for limit, lowered in zip(values(given_limits), values(given_limits.with_jitter(jitter, chance)), strict=True):
        assert (limit is None) == (lowered is None)
        if limit is not None and lowered is not None:
            assert 0 < lowered <= limit
            assert lowered == pytest.approx(limit * (1 - jitter * chance))


@given(limits)
def test_without_jitter_a_limit_is_what_was_set(given_limits):
    assert values(given_limits.with_jitter(0.0, 0.99)) == values(given_limits)


@given(limits, st.builds(Usage, st.integers(0, 10**9), st.floats(0, 10**9), st.integers(0, 10**9)))
def test_a_worker_goes_exactly_when_it_has_reached_a_limit(given_limits, usage):
    reached = {
        "count": given_limits.steps is not None and usage.steps >= given_limits.steps,
        "age": given_limits.age_s is not None and usage.age_s >= given_limits.age_s,
        "memory": given_limits.memory_bytes is not None and usage.memory_bytes >= given_limits.memory_bytes,
    }
    reason = given_limits.exceeded_by(usage)
    assert (reason is not None) == any(reached.values())
    assert reason is None or reached[reason]


def test_memory_is_the_most_urgent_reason_and_the_count_the_least():
    one = RecycleLimits(10, 60.0, 1_000)

    assert one.exceeded_by(Usage(10, 60.0, 1_000)) == "memory"
    assert one.exceeded_by(Usage(10, 60.0, 999)) == "age"
    assert one.exceeded_by(Usage(10, 59.9, 999)) == "count"
    assert one.exceeded_by(Usage(9, 59.9, 999)) is None


def test_without_limits_there_is_nothing_to_look_at():
    assert not RecycleLimits().are_any
    assert all(one.are_any for one in (RecycleLimits(steps=1), RecycleLimits(age_s=1), RecycleLimits(memory_bytes=1)))
