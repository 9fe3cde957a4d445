from itertools import pairwise

import pytest

from tasker_actors.workflow.versions import version_key

OLDEST_TO_NEWEST = [
    "",
    "beta",
    "nightly-2",
    "0.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.2",
    "1.0.0-alpha.10",
    "1.0.0-alpha.beta",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.2.0",
    "1.10",
    "v1.10.1",
    "2",
    "2.0.0.1",
    "10.0.0",
]


@pytest.mark.parametrize(("older", "newer"), [*pairwise(OLDEST_TO_NEWEST)])
def test_versions_sort_from_the_oldest_to_the_newest(older, newer):
    assert version_key(older) < version_key(newer)


def test_missing_places_are_zero_and_still_no_two_versions_are_equal():
    keys = [version_key(text) for text in ("1", "1.0", "1.0.0", "v1", "1+build")]
    assert len(set(keys)) == len(keys)
    assert version_key("1.0.0-rc.1") < version_key("1")
    assert all(version_key("0.9.9") < key < version_key("1.0.1") for key in keys)


@pytest.mark.parametrize("text", ["1.", ".1", "1..2", "1.0-", "1 0", "\u0661.\u0662", "9" * 5_000])
def test_what_looks_like_a_number_and_is_none_sorts_as_text(text):
    assert version_key(text) < version_key("0")
