"""Which firings of a schedule are due, and what becomes of those that were missed."""

from datetime import datetime, timedelta

import pytest

from tasker_actors.workflow.cron import parse_cron
from tasker_actors.workflow.schedule import (
    CatchUp,
    CatchUpLimits,
    DueFirings,
    due_firings,
    firing_key,
    firing_tags,
    next_firings,
)

HOURLY = parse_cron("0 * * * *", "UTC")
LIMITS = CatchUpLimits(grace=timedelta(minutes=1), most=1000, at_once=1000)


def at(text):
    return datetime.fromisoformat(f"2026-01-{text}Z")


@pytest.mark.parametrize("policy", CatchUp)
def test_what_is_due_just_now_fires_whatever_the_policy(policy):
    found = due_firings(HOURLY, at("01T03:00:00"), at("01T03:00:00.2"), policy, LIMITS)

    assert found == DueFirings((at("01T03:00:00"),), at("01T04:00:00"))


def test_skip_drops_what_was_missed():
    found = due_firings(HOURLY, at("01T03:00:00"), at("01T05:30:00"), CatchUp.SKIP, LIMITS)

    assert found == DueFirings((), at("01T06:00:00"), (at("01T03:00:00"), at("01T06:00:00")))


def test_skip_fires_the_one_that_is_hardly_late_and_drops_those_before():
    found = due_firings(HOURLY, at("01T03:00:00"), at("01T05:01:00"), CatchUp.SKIP, LIMITS)

    assert found == DueFirings((at("01T05:00:00"),), at("01T06:00:00"), (at("01T03:00:00"), at("01T05:00:00")))


def test_latest_makes_up_for_all_with_the_last():
    found = due_firings(HOURLY, at("01T03:00:00"), at("09T05:59:59"), CatchUp.LATEST, LIMITS)

    assert found == DueFirings((at("09T05:00:00"),), at("09T06:00:00"), (at("01T03:00:00"), at("09T05:00:00")))


def test_all_makes_up_for_each():
    found = due_firings(HOURLY, at("01T03:00:00"), at("01T05:30:00"), CatchUp.ALL, LIMITS)

    assert found == DueFirings((at("01T03:00:00"), at("01T04:00:00"), at("01T05:00:00")), at("01T06:00:00"))


def test_all_has_a_limit_and_drops_the_oldest():
    limits = CatchUpLimits(grace=timedelta(0), most=3, at_once=3)

    exactly = due_firings(HOURLY, at("01T03:00:00"), at("01T05:30:00"), CatchUp.ALL, limits)
    more = due_firings(HOURLY, at("01T03:00:00"), at("20T05:30:00"), CatchUp.ALL, limits)

    assert exactly == DueFirings((at("01T03:00:00"), at("01T04:00:00"), at("01T05:00:00")), at("01T06:00:00"))
    assert more == DueFirings(
        (at("20T03:00:00"), at("20T04:00:00"), at("20T05:00:00")),
        at("20T06:00:00"),
        (at("01T03:00:00"), at("20T03:00:00")),
    )


def test_all_of_very_many_takes_no_look_at_each():
    every_second = parse_cron("* * * * * *", "UTC")

    found = due_firings(
        every_second, datetime.fromisoformat("1990-01-01T00:00:00Z"), at("01T00:00:00"), CatchUp.ALL, LIMITS
    )

    assert len(found.times) == 1000
    assert found.times[0] == at("01T00:00:00") - timedelta(seconds=999)
    assert found.dropped is not None


def test_what_does_not_fit_into_one_transaction_is_due_at_once():
    limits = CatchUpLimits(grace=timedelta(0), most=100, at_once=2)

    found = due_firings(HOURLY, at("01T03:00:00"), at("01T05:30:00"), CatchUp.ALL, limits)

    assert found == DueFirings((at("01T03:00:00"), at("01T04:00:00")), at("01T05:00:00"))


def test_what_turns_out_to_be_too_much_for_one_transaction_is_due_at_once():
    dropped = (at("01T01:00:00"), at("01T03:00:00"))
    due = DueFirings((at("01T03:00:00"), at("01T04:00:00"), at("01T05:00:00")), at("01T06:00:00"), dropped)

    assert due.first(2) == DueFirings((at("01T03:00:00"), at("01T04:00:00")), at("01T05:00:00"), dropped)
    assert due.first(3) == due


def test_a_preview_begins_with_what_is_due_next():
    assert next_firings(HOURLY, at("01T03:00:00"), 3) == [at("01T03:00:00"), at("01T04:00:00"), at("01T05:00:00")]
    assert next_firings(HOURLY, None, 3) == []


def test_a_firing_is_known_by_its_schedule_and_its_moment():
    assert (
        firing_key("nightly", datetime.fromisoformat("2026-01-01T04:00:00+01:00"))
        == "schedule/nightly/2026-01-01T03:00:00Z"
    )
    assert firing_tags("nightly", at("01T03:00:00")) == ("schedule:nightly", "scheduled_for:2026-01-01T03:00:00Z")
