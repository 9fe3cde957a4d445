"""Lengths of time on the command line."""

from datetime import timedelta

import pytest

from tasker_actors.cli.durations import parse_duration, seconds_of
from tasker_actors.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("5m", timedelta(minutes=5)),
        ("90s", timedelta(seconds=90)),
        ("2w", timedelta(days=14)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_a_number_and_a_unit_are_a_length_of_time(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "0d", "1.5h", "30 d", "1d12h", "30D", "36501d", "999999999w", "1d\n", "\u0661d"]
)
def test_anything_else_is_refused_with_the_text_in_the_error(text):
    with pytest.raises(ValueError, match=r"30d or 12h|more than a hundred years") as refused:
        parse_duration(text)
    assert repr(text) in str(refused.value)


def test_an_option_in_seconds_is_named_where_it_is_wrong():
    assert (seconds_of("--unique-for", "2h"), seconds_of("--unique-for", None)) == (7200, None)
    with pytest.raises(ConfigurationError, match=r"^--unique-for: 'soon'"):
        seconds_of("--unique-for", "soon")
