"""Which traces are sampled: the same as OpenTelemetry's sampler says."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from tasker_actors.telemetry.sampling import is_sampled

TRACE_IDS = st.integers(1, 2**128 - 1)
RATIOS = st.floats(0.0, 1.0)


@given(TRACE_IDS, RATIOS)
@example(2**64 - 1, 1.0)
@example(2**63, 0.5)
@example(2**63 - 1, 0.5)
@example(1, 0.0)
def test_it_decides_as_opentelemetry_does(trace_id, ratio):
    decision = TraceIdRatioBased(ratio).should_sample(None, trace_id, "span").decision
    assert is_sampled(f"{trace_id:032x}", ratio) == (decision is Decision.RECORD_AND_SAMPLE)


@given(TRACE_IDS, RATIOS, RATIOS)
def test_what_a_lower_ratio_samples_a_higher_one_samples_too(trace_id, one, other):
    lower, higher = sorted((one, other))
    digits = f"{trace_id:032x}"
    assert is_sampled(digits, higher) or not is_sampled(digits, lower)


@pytest.mark.parametrize("trace_id", ["0" * 31 + "1", "f" * 32])
def test_all_and_none(trace_id):
    assert is_sampled(trace_id, 1.0)
    assert not is_sampled(trace_id, 0.0)
