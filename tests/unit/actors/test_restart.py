from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.actors import RestartPolicy
from tasker_actors.actors.restart import restart_reason

policies = st.builds(
    RestartPolicy,
    max_restarts=st.integers(0, 20),
    window_ms=st.integers(1, 60_000),
    backoff_base_ms=st.integers(0, 500),
    backoff_max_ms=st.integers(500, 5_000),
)
moments = st.lists(st.floats(0, 300, allow_nan=False), max_size=60).map(sorted)
chances = st.floats(0, 1, exclude_max=True)


def test_the_default_allows_five_restarts_in_thirty_seconds():
    policy = RestartPolicy()
    restarts: tuple[float, ...] = ()
    delays = []
    for second in range(6):
        decision = policy.decide(restarts, float(second), 0.5)
        restarts = decision.restarts
        delays.append(decision.delay_ms)
    assert delays == [10, 20, 40, 80, 160, None]
    assert policy.decide(restarts, 30.5, 0.5).delay_ms is not None


@given(policy=policies, failures=moments, chance=chances)
def test_never_more_restarts_in_a_window_than_allowed(policy, failures, chance):
    restarts: tuple[float, ...] = ()
    granted: list[float] = []
    for now in failures:
        decision = policy.decide(restarts, now, chance)
        restarts = decision.restarts
        in_window = [moment for moment in granted if moment > now - policy.window_ms / 1000]
        assert (decision.delay_ms is None) == (len(in_window) >= policy.max_restarts)
        if decision.delay_ms is not None:
            granted.append(now)
        assert len(decision.restarts) <= policy.max_restarts


@given(policy=policies, earlier=st.integers(0, 19), chance=chances)
def test_the_pause_grows_and_stays_within_the_jitter_of_its_ceiling(policy, earlier, chance):
    pause = policy.decide([1.0] * earlier, 1.0, chance).delay_ms
    if pause is not None:
        plain = min(policy.backoff_base_ms * 2**earlier, policy.backoff_max_ms)
        assert plain * 0.85 <= pause <= plain * 1.15
        again = policy.decide([1.0] * (earlier + 1), 1.0, chance).delay_ms
        assert again is None or again >= pause


@pytest.mark.parametrize(
    "wrong",
    [{"max_restarts": -1}, {"window_ms": 0}, {"backoff_base_ms": -1}, {"backoff_base_ms": 10, "backoff_max_ms": 9}],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="is no restart policy"):
        RestartPolicy(**wrong)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ValueError("a fault"), "error"),
        (GeneratorExit(), "error"),
        (OSError(24, "Too many open files"), "system"),
        (ConnectionResetError(), "system"),
        (MemoryError(), "memory"),
        (SystemExit(3), "exit"),
        (KeyboardInterrupt(), "exit"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_every_failure_has_one_of_a_few_reasons(failure, reason):
    assert restart_reason(failure) == reason
