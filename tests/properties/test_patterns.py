"""Patterns against a reference that tries everything."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.delivery.patterns import PatternError, PatternIndex, compile_pattern

segments = st.sampled_from(["a", "b", "ab"])
names = st.lists(segments, min_size=1, max_size=7).map(".".join)
patterns = st.lists(segments | st.sampled_from(["*", "#"]), min_size=1, max_size=7).map(".".join)


def reference(pattern: str, name: str) -> bool:
    """Match by definition: `#` is tried with every number of segments."""
    if pattern == "*":
        return True

    @cache
    def matches(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
        if not left:
            return not right
        if left[0] == "#":
            return any(matches(left[1:], right[taken:]) for taken in range(len(right) + 1))
        return bool(right) and left[0] in ("*", right[0]) and matches(left[1:], right[1:])

    return matches(tuple(pattern.split(".")), tuple(name.split(".")))


@given(patterns, names)
def test_matching_agrees_with_trying_everything(pattern, name):
    assert compile_pattern(pattern).matches(name) == reference(pattern, name)


@given(names)
def test_a_name_matches_itself(name):
    assert compile_pattern(name).matches(name)


@given(st.text(alphabet="a.*#", max_size=12))
def test_a_text_is_a_pattern_exactly_if_wildcards_stand_alone(text):
    good = all(part in ("*", "#") or (part and not set(part) & set("*#")) for part in text.split("."))
    try:
        compile_pattern(text)
    except PatternError:
        assert not good
    else:
        assert good


@given(st.lists(st.tuples(st.integers(0, 4), patterns), max_size=12), st.lists(names, max_size=20), st.integers(1, 5))
def test_an_index_agrees_with_asking_every_pattern(pairs, asked, cached):
    index = PatternIndex(pairs, max_cached_names=cached)
    for name in asked:
        matching = [key for key, pattern in pairs if reference(pattern, name)]
        order = list(dict.fromkeys(key for key, _ in pairs))
        assert index.keys_for(name) == tuple(key for key in order if key in matching)
