"""Delays grow, stay in their bounds, and follow the plain formulas."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.retry import Backoff, RetryPolicy, next_delay_ms

policies = st.builds(
    RetryPolicy,
    backoff=st.sampled_from(Backoff),
    base_ms=st.integers(0, 86_400_000),
    max_ms=st.integers(0, 86_400_000),
)
randoms = st.floats(0, 1, exclude_max=True)
attempts = st.integers(1, 10_000)


@given(policies, randoms, st.lists(attempts, min_size=2, max_size=20).map(sorted))
def test_delays_never_fall_from_attempt_to_attempt(policy, random, later_and_later):
    delays = [policy.delay_ms(attempt, random) for attempt in later_and_later]
    assert all(earlier <= later for earlier, later in pairwise(delays))


@given(policies, attempts, randoms)
def test_delays_are_bounded_by_the_limit_and_its_jitter(policy, attempt, random):
    assert 0 <= policy.delay_ms(attempt, random) <= policy.max_ms * 1.15


@given(policies, st.integers(1, 60), randoms)
def test_delays_are_those_of_the_plain_formula_within_the_jitter(policy, attempt, random):
    fibonacci = [1, 1]
    while len(fibonacci) < attempt:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    factor = {
        Backoff.NONE: 0,
        Backoff.LINEAR: attempt,
        Backoff.EXPONENTIAL: 2 ** (attempt - 1),
        Backoff.FIBONACCI: fibonacci[attempt - 1],
    }[policy.backoff]
    plain = min(policy.base_ms * factor, policy.max_ms)
    assert plain * 0.85 - 1 <= policy.delay_ms(attempt, random) <= plain * 1.15


@given(policies, attempts, st.integers(0, 10_000_000), randoms)
def test_retry_after_is_taken_as_it_is(policy, attempt, retry_after_ms, random):
    assert next_delay_ms(policy, attempt, retry_after_ms, random) == retry_after_ms
    assert next_delay_ms(policy, attempt, None, random) == policy.delay_ms(attempt, random)
