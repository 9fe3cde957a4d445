"""What is written into a block is read from it, for any labels and amounts."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasker_actors.stats import layout
from tasker_actors.stats.block import BlockWriter, create_block
from tasker_actors.stats.figures import HistogramValue, clean_labels
from tasker_actors.stats.reader import BlockReader
from tasker_actors.telemetry.metrics import DURATION_BOUNDS_MS, EVENT_REFUSALS, STEP_CLAIM_DURATION

LABEL = st.text(st.characters(exclude_categories=()), max_size=20)
LABELS = st.tuples(LABEL, LABEL)
SIZE = (layout.TOKENS + 4000 + layout.RESERVE_CELLS) * layout.CELL_BYTES


@pytest.fixture
def directory(tmp_path):
    return tmp_path


def opened(directory):
    path = create_block(directory, slot=0, incarnation=1, executors=1, size_bytes=SIZE)
    return BlockWriter(path), BlockReader(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(counts=st.lists(st.tuples(LABELS, st.integers(0, 2**50)), max_size=30))
def test_counts_come_back_under_their_labels(directory, counts):
    writer, reader = opened(directory)
    expected = Counter()
    for labels, amount in counts:
        writer.counter(EVENT_REFUSALS, labels).add(amount)
        expected[clean_labels(labels)] += amount
        assert reader.snapshot().figures.total(EVENT_REFUSALS) == expected.total()
    assert reader.snapshot().figures.counters.get(EVENT_REFUSALS, {}) == expected
    assert BlockReader(reader._path).snapshot() == reader.snapshot()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(durations=st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(DURATION_BOUNDS_MS)))
def test_a_block_and_a_value_put_an_observation_into_the_same_bucket(directory, durations):
    writer, reader = opened(directory)
    expected = HistogramValue()
    cell = writer.histogram(STEP_CLAIM_DURATION, ("ns", "success"))
    for duration in durations:
        cell.observe(duration)
        expected = expected.observe(duration)
    found = reader.snapshot().figures.histograms[STEP_CLAIM_DURATION]["ns", "success"]
    assert found.buckets == expected.buckets
    assert found.total == pytest.approx(expected.total, rel=1e-9, abs=1e-3)  # a block adds floats
