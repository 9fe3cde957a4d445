import pytest

from tasker_actors.workflow.retry import MAX_RETRY_AFTER_MS, Backoff, RetryPolicy, next_delay_ms

PLAIN = 0.5
"""The random number in the middle of the jitter."""


def delays(policy, attempts=7):
    return [policy.delay_ms(attempt, PLAIN) for attempt in range(1, attempts + 1)]


def test_the_defaults_are_three_attempts_that_double_from_one_second_to_thirty():
    policy = RetryPolicy()
    assert (policy.retryable, policy.max_attempts, policy.backoff) == (True, 3, Backoff.EXPONENTIAL)
    assert delays(policy) == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (Backoff.NONE, [0, 0, 0, 0, 0, 0, 0]),
        (Backoff.LINEAR, [100, 200, 300, 400, 500, 600, 700]),
        (Backoff.EXPONENTIAL, [100, 200, 400, 800, 1_000, 1_000, 1_000]),
        (Backoff.FIBONACCI, [100, 100, 200, 300, 500, 800, 1_000]),
    ],
)
def test_how_each_backoff_grows(backoff, expected):
    assert delays(RetryPolicy(backoff=backoff, base_ms=100, max_ms=1_000)) == expected


def test_jitter_is_fifteen_percent_in_both_directions():
    policy = RetryPolicy(base_ms=1_000, max_ms=1_000)
    assert policy.delay_ms(1, 0.0) == 850
    assert policy.delay_ms(1, PLAIN) == 1_000
    assert policy.delay_ms(1, 0.999_999) == 1_149


@pytest.mark.parametrize("backoff", Backoff)
@pytest.mark.parametrize("base_ms", [0, 1, 86_400_000])
@pytest.mark.timeout(5)
def test_a_late_attempt_is_neither_slow_nor_too_large(backoff, base_ms):
    policy = RetryPolicy(backoff=backoff, base_ms=base_ms, max_ms=86_400_000)
    limit = 0 if base_ms == 0 or backoff is Backoff.NONE else 10_000 if backoff is Backoff.LINEAR else 86_400_000
    for attempt in (10_000, 10**15):
        delay = policy.delay_ms(attempt, PLAIN)
        assert delay <= 86_400_000
        assert delay >= min(limit, base_ms * attempt)


def test_attempts_are_counted_from_one():
    with pytest.raises(ValueError, match="counted from 1"):
        RetryPolicy().delay_ms(0, PLAIN)


@pytest.mark.parametrize(
    ("retry_after_ms", "expected"),
    [(None, 1_000), (0, 0), (5, 5), (999_999, 999_999), (-1, 0), (10**30, MAX_RETRY_AFTER_MS)],
)
def test_retry_after_wins_over_the_computed_delay(retry_after_ms, expected):
    assert next_delay_ms(RetryPolicy(), 1, retry_after_ms, PLAIN) == expected


@pytest.mark.parametrize(
    ("policy", "attempt", "failure_retryable", "expected"),
    [
        (RetryPolicy(max_attempts=3), 2, True, True),
        (RetryPolicy(max_attempts=3), 3, True, False),
        (RetryPolicy(max_attempts=3), 4, True, False),
        (RetryPolicy(max_attempts=3), 1, False, False),
        (RetryPolicy(max_attempts=3, retryable=False), 1, True, False),
        (RetryPolicy(max_attempts=1), 1, True, False),
    ],
)
def test_which_failure_is_followed_by_another_attempt(policy, attempt, failure_retryable, expected):
    assert policy.will_retry(attempt, failure_retryable=failure_retryable) is expected
