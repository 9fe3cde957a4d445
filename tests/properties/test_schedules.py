"""Schedules of any expression, zone and policy: firings only go forward, and each is made once or dropped."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasker_actors.workflow.cron import CronError, parse_cron
from tasker_actors.workflow.schedule import CatchUp, CatchUpLimits, due_firings

# Zones whose clocks are put forward and back by an hour, by half of one, at midnight, and never.
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu"])
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2029, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
# Around the changes of the clocks of 2026 in these zones, where the rules are hardest.
NEAR_CHANGES = st.sampled_from(
    [
        datetime(2026, 3, 29, 1),
        datetime(2026, 10, 25, 1),
        datetime(2026, 4, 4, 15),
        datetime(2026, 10, 3, 15),
        datetime(2026, 3, 8, 5),
    ]
).flatmap(
    lambda change: st.integers(-10_000, 10_000).map(lambda s: (change + timedelta(seconds=s)).replace(tzinfo=UTC))
)
PLACES = MOMENTS | NEAR_CHANGES


def field(low, high):
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(1, 30).map(lambda every: f"*/{every}")
    listed = st.lists(number, min_size=1, max_size=3).map(lambda each: ",".join(map(str, each)))
    return st.just("*") | listed | span | step


MINUTES_AND_HOURS = st.tuples(field(0, 59), field(0, 23), st.just("*"), st.just("*"), st.just("*")).map(" ".join)
SECONDS = st.tuples(field(0, 59), field(0, 59), st.just("* * * *")).map(" ".join)
DAYS = st.tuples(field(0, 59), field(0, 23), field(1, 28), st.just("*"), field(0, 6)).map(" ".join)
EXPRESSIONS = MINUTES_AND_HOURS | SECONDS | DAYS


# In the second of the two hours that clocks show when they are put back.
@example("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 25, 1, 15, tzinfo=UTC))
@settings(deadline=None)  # a busy machine is no failure
@given(EXPRESSIONS, ZONES, PLACES)
def test_firings_are_later_than_asked_for_and_each_later_than_the_one_before(expression, zone, moment):
    found = list(islice(parse_cron(expression, zone).firings(moment), 20))

    assert len(found) == 20
    assert all(earlier < later for earlier, later in pairwise([moment, *found]))


@settings(deadline=None)  # a busy machine is no failure
@given(EXPRESSIONS, ZONES, PLACES)
def test_the_next_firing_does_not_depend_on_when_one_looks(expression, zone, moment):
    """Whoever looks between two firings sees the same next one: supervisors look when they like."""
    cron = parse_cron(expression, zone)
    first, second = islice(cron.firings(moment), 2)

    assert cron.after(first) == second
    assert cron.after(first + (second - first) / 2) == second


@settings(deadline=None, max_examples=60)
@given(
    EXPRESSIONS,
    ZONES,
    PLACES,
    st.sampled_from(CatchUp),
    st.floats(0, 1),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(0, 100),
)
def test_each_firing_is_made_once_or_dropped_as_its_policy_says(
    expression, zone, moment, policy, lateness, most, at_once, grace_s
):
    cron = parse_cron(expression, zone)
    due, *later = islice(cron.firings(moment), 60)
    now = due + lateness * (later[-1] - due)
    missed = [due, *takewhile(lambda one: one <= now, later)]
    limits = CatchUpLimits(timedelta(seconds=grace_s), most, at_once)

    made, at = [], due
    while at is not None and at <= now:
        found = due_firings(cron, at, now, policy, limits)
        assert len(found.times) <= at_once
        assert found.next_at is not None
        assert found.next_at > at
        made.extend(found.times)
        at = found.next_at

    assert at == cron.after(now)
    match policy:
        case CatchUp.ALL:
            assert made == missed[-most:]
        case CatchUp.LATEST:
            assert made == missed[-1:]
        case CatchUp.SKIP:
            assert made == [one for one in missed[-1:] if now - one <= limits.grace]


@settings(deadline=None)
@given(st.text(max_size=30) | st.text("0123456789*/-,#LWMONJA ", max_size=30))
def test_any_text_is_an_expression_or_refused(text):
    with suppress(CronError):
        parse_cron(text, "UTC").after(datetime(2026, 1, 1, tzinfo=UTC))
