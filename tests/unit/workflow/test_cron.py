"""Cron expressions: when they fire, by whose clocks, and which of them are none."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from tasker_actors.workflow.cron import CronError, parse_cron


def at(text):
    return datetime.fromisoformat(text)


def firings(expression, zone, after, count):
    return [moment.isoformat() for moment in islice(parse_cron(expression, zone).firings(at(after)), count)]


def test_a_firing_is_after_the_moment_and_never_at_it():
    hourly = parse_cron("0 * * * *", "UTC")

    assert hourly.after(at("2026-01-01T00:00:00Z")) == at("2026-01-01T01:00:00Z")
    assert hourly.after(at("2025-12-31T23:59:59.999999Z")) == at("2026-01-01T00:00:00Z")


def test_moments_are_in_utc_and_days_are_those_of_the_zone():
    (first,) = islice(parse_cron("30 0 1 * *", "Asia/Kolkata").firings(at("2026-01-15T00:00:00Z")), 1)

    assert first == at("2026-01-31T19:00:00Z")
    assert first.tzinfo is UTC


def test_six_fields_begin_with_the_second():
    assert firings("*/20 * * * * *", "UTC", "2026-01-01T00:00:05Z", 2) == [
        "2026-01-01T00:00:20+00:00",
        "2026-01-01T00:00:40+00:00",
    ]


def test_where_clocks_are_put_forward_a_time_that_is_left_out_fires_as_soon_as_they_are():
    # On 29 March 2026 there is no 02:30 in Berlin: 01:59:59 is followed by 03:00:00, which is 01:00 in UTC.
    assert firings("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3) == [
        "2026-03-28T01:30:00+00:00",
        "2026-03-29T01:00:00+00:00",
        "2026-03-30T00:30:00+00:00",
    ]


@pytest.mark.parametrize("after", ["2026-10-24T12:00:00Z", "2026-10-25T00:15:00Z"])
def test_where_clocks_are_put_back_a_time_of_day_fires_once(after):
    # On 25 October 2026 Berlin has 02:30 twice, at 00:30 and at 01:30 in UTC.
    assert firings("30 2 * * *", "Europe/Berlin", after, 2) == [
        "2026-10-25T00:30:00+00:00",
        "2026-10-26T01:30:00+00:00",
    ]


def test_who_looks_in_the_second_of_two_equal_hours_is_not_sent_back_into_the_first():
    assert firings("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", 1) == ["2026-10-26T01:30:00+00:00"]


def test_where_clocks_are_put_back_what_comes_every_so_many_minutes_goes_on():
    assert firings("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 5) == [
        "2026-10-25T00:00:00+00:00",
        "2026-10-25T00:30:00+00:00",
        "2026-10-25T01:00:00+00:00",
        "2026-10-25T01:30:00+00:00",
        "2026-10-25T02:00:00+00:00",
    ]


def test_what_can_be_read_and_never_fires_has_no_firing():
    # The 1st and the 21st of a month are never its last Monday.
    assert parse_cron("* * */20 * 1L", "UTC").after(at("2026-01-01T00:00:00Z")) is None


def test_zones_are_those_of_the_database_of_zones():
    assert parse_cron("0 0 * * *", "UTC").zone is UTC
    assert parse_cron("0 0 * * *", "Europe/Berlin").zone == ZoneInfo("Europe/Berlin")


def test_zones_are_known_on_a_machine_that_has_no_database_of_them():
    code = "from tasker_actors.workflow.cron import parse_cron; parse_cron('0 0 * * *', 'Europe/Berlin')"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONTZPATH": ""}, check=True, timeout=60)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "has not five or six fields but 0: write minute"),
        ("@daily", "has not five or six fields but 1"),
        ("* * * * * * *", "but 7"),
        ("61 * * * *", "has a minute that cannot be read"),
        ("99 * * * * *", "has a second that cannot be read"),
        ("* 24 * * *", "has a hour that cannot be read"),
        ("* * 0 * *", "has a day of month that cannot be read"),
        ("* * * 13 *", "has a month that cannot be read"),
        ("* * * * 8", "has a day of week that cannot be read"),
        ("* * * * MON#9", "has a day of week that cannot be read"),
        ("*/0 * * * *", "has a minute that cannot be read"),
        ("* * 2-1 * *", "has a day of month that cannot be read"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 30 2 MON#9", "has a day of week that cannot be read"),
        ("*" * 201, "at most 200 characters"),
        ("\0 * * * *", "has a minute that cannot be read"),
    ],
)
def test_what_is_no_expression_is_refused_by_its_field(expression, message):
    with pytest.raises(CronError, match=message) as refused:
        parse_cron(expression, "UTC")
    assert refused.value.key == "cron"


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Berlim", r"did you mean 'Europe/Berlin'\?"),
        ("+01:00", "write one as in Europe/Berlin"),
        ("", "write one as in Europe/Berlin"),
        ("../../../etc/passwd", "there is no time zone"),
        ("/etc/localtime", "there is no time zone"),
        ("Europe", "there is no time zone"),
        ("localtime", "there is no time zone"),
        ("a\0b", "there is no time zone"),
        ("x" * 10_000, "there is no time zone"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(zone, message):
    with pytest.raises(CronError, match=message) as refused:
        parse_cron("0 0 * * *", zone)
    assert refused.value.key == "timezone"
