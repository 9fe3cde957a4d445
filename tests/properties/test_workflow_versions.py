"""Versions of any shape have one order."""

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.versions import version_key

numbers = st.lists(st.integers(0, 30), min_size=1, max_size=4)
versions = st.text(max_size=12) | st.text("v0123.-+ab", max_size=10) | numbers.map(lambda n: ".".join(map(str, n)))


@given(st.lists(versions, max_size=10))
def test_any_versions_can_be_ordered_and_only_equal_texts_are_equal(texts):
    backwards = texts[::-1]
    assert sorted(backwards, key=version_key) == sorted(texts, key=version_key)
    assert len({version_key(text) for text in texts}) == len(set(texts))


@given(numbers, numbers)
def test_numbered_versions_have_the_order_of_their_numbers(one, other):
    places = max(len(one), len(other))
    left, right = (n + [0] * (places - len(n)) for n in (one, other))
    keys = [version_key(".".join(map(str, n))) for n in (one, other)]
    if left != right:
        assert (keys[0] < keys[1]) is (left < right)
