"""Rules of the plain counters and of settlement that hold for all values."""

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.stats.counters import CommittedCount, EventRouterStats, RouterTally, Snapshot, settle
from tasker_actors.stats.figures import OVERFLOW, Figures, HistogramValue, clean_labels
from tasker_actors.telemetry.metrics import EVENTS_FAILED, EVENTS_PUBLISHED

COUNTS = st.integers(0, 2**40)
TALLIES = st.builds(RouterTally, *(COUNTS for _ in range(6)))
MODES = ("durable", "fast", "broadcast")
OVERFLOWS = [(OVERFLOW, OVERFLOW, mode, OVERFLOW) for mode in MODES]
LABELS = st.sampled_from([("ns", name, mode, "default") for name in ("a.b", "a.c") for mode in MODES])
SERIES = st.dictionaries(LABELS | st.sampled_from(OVERFLOWS), COUNTS)
SNAPSHOTS = st.builds(
    lambda tally, published, failed: Snapshot(
        router=tally, figures=Figures(counters={EVENTS_PUBLISHED: published, EVENTS_FAILED: failed})
    ),
    TALLIES,
    SERIES,
    SERIES,
)
ROWS = st.lists(st.builds(lambda labels, *counts: CommittedCount(*labels, *counts), LABELS, COUNTS, COUNTS))
DURATIONS = st.lists(st.floats(allow_nan=True, allow_infinity=True))


@given(TALLIES)
def test_the_parts_make_the_total_for_any_tally(tally):
    stats = tally.stats()
    parts = stats.durable_routed + stats.fast_routed + stats.broadcast_routed + stats.routing_errors
    assert stats.total_routed == parts


@given(TALLIES, TALLIES)
def test_adding_tallies_and_adding_their_stats_is_the_same(one, other):
    assert (one + other).stats() == one.stats() + other.stats()
    assert one.stats() + EventRouterStats() == one.stats()


@given(SNAPSHOTS, ROWS)
def test_settlement_lets_nothing_fall(snapshot, rows):
    settled = settle(snapshot, rows)
    before, after = snapshot.router.stats().to_dict(), settled.router.stats().to_dict()
    assert all(after[name] >= value for name, value in before.items())
    for metric, series in snapshot.figures.counters.items():
        now = settled.figures.counters[metric]
        assert all(now[labels] >= value for labels, value in series.items())


@given(SNAPSHOTS, ROWS)
def test_settlement_reaches_what_was_committed(snapshot, rows):
    settled = settle(snapshot, rows)
    published = settled.figures.counters[EVENTS_PUBLISHED]
    for mode, routed in (("durable", settled.router.durable), ("broadcast", settled.router.broadcast)):
        committed = sum(row.published for row in rows if row.delivery_mode == mode)
        assert sum(count for labels, count in published.items() if labels[2] == mode) >= committed
        assert routed >= committed
    assert settled.router.unpublished >= sum(row.failed for row in rows)


@given(SNAPSHOTS, ROWS)
def test_settling_twice_changes_nothing_more(snapshot, rows):
    settled = settle(snapshot, rows)
    assert settle(settled, rows) == settled


@given(DURATIONS, DURATIONS)
def test_histograms_add_up_to_the_histogram_of_all_observations(one, other):
    def histogram(values):
        value = HistogramValue()
        for each in values:
            value = value.observe(each)
        return value

    both = histogram(one) + histogram(other)
    assert both.buckets == histogram(one + other).buckets
    assert both.count == len(one) + len(other)
    assert both.total >= 0.0


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=300)).map(tuple))
def test_cleaned_labels_can_be_stored_and_stay_as_they_are(labels):
    cleaned = clean_labels(labels)
    assert all(label.encode("utf-8") is not None and len(label) <= 255 for label in cleaned)
    assert clean_labels(cleaned) == cleaned
