"""Subscription patterns (SPEC 2.3), one by one and in an index."""

from __future__ import annotations

import pytest

from tasker_actors.delivery.patterns import PatternError, PatternIndex, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*", ["payment", "payment.processed", "payment.card.processed"], []),
        ("#", ["payment", "payment.processed", "payment.card.processed"], []),
        ("payment.*", ["payment.processed"], ["payment", "payment.card.processed", "payments.processed"]),
        ("payment.#", ["payment", "payment.processed", "payment.card.processed"], ["payments", "order.payment"]),
        ("payment.processed", ["payment.processed"], ["payment.processed2", "paymentXprocessed", "payment"]),
        ("*.processed", ["payment.processed"], ["processed", "payment.card.processed"]),
        ("#.processed", ["processed", "payment.processed", "a.b.processed"], ["payment.failed", "processed.payment"]),
        ("a.#.z", ["a.z", "a.b.z", "a.b.c.z", "a.z.z"], ["a", "z", "a.b", "a.z.b"]),
        ("a.*.#", ["a.b", "a.b.c"], ["a"]),
        ("#.a.#.a.#", ["a.a", "x.a.y.a.z"], ["a", "x.a.y"]),
        ("*.*", ["a.b"], ["a", "a.b.c"]),
        ("#.*", ["a", "a.b"], []),
    ],
)
def test_a_pattern_matches_whole_segments(pattern, matching, other):
    compiled = compile_pattern(pattern)
    assert [name for name in matching + other if compiled.matches(name)] == matching


@pytest.mark.parametrize("pattern", ["", ".", "a.", ".a", "a..b", "a*", "*a.b", "a.b#", "a.**", "##", "*#"])
def test_what_is_no_pattern_is_refused_with_its_text(pattern):
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert pattern in str(caught.value)


@pytest.mark.parametrize("pattern", [None, 5, ["a.b"]])
def test_a_pattern_must_be_text(pattern):
    with pytest.raises(PatternError, match="text"):
        compile_pattern(pattern)


def test_an_index_answers_in_registration_order_and_each_key_once():
    index = PatternIndex([("c", "flight.*"), ("a", "#"), ("b", "weather.#"), ("c", "flight.delayed"), ("c", "*")])
    assert index.keys_for("flight.delayed") == ("c", "a")
    assert index.keys_for("weather.storm") == ("c", "a", "b")
    assert index.key_count == 3
    assert index.pattern_count == 5


def test_an_index_counts_different_patterns():
    assert PatternIndex([("a", "x.y"), ("b", "x.y"), ("b", "*")]).pattern_count == 2
    assert PatternIndex([]).keys_for("x.y") == ()


def test_an_index_names_the_key_of_a_bad_pattern():
    with pytest.raises(PatternError, match=r"on_flight.*a\.\.b"):
        PatternIndex([("on_any", "*"), ("on_flight", "a..b")])


def test_the_answers_stay_right_when_there_are_more_names_than_the_cache_holds():
    index = PatternIndex([("a", "flight.*"), ("b", "#.late")], max_cached_names=5)
    for _ in range(2):
        for number in range(20):
            assert index.keys_for(f"flight.n{number}") == ("a",)
            assert index.keys_for("flight.late") == ("a", "b")
            assert len(index._cache) <= 5


def test_a_known_name_is_not_matched_again():
    index = PatternIndex([("a", "flight.*")])
    first = index.keys_for("flight.late")
    index._patterns.clear()
    assert index.keys_for("flight.late") is first


def test_a_hostile_pattern_costs_no_more_than_the_product_of_its_segments():
    pattern = compile_pattern(".".join(["#", "a"] * 40 + ["b"]))
    assert not pattern.matches(".".join(["a"] * 128))
