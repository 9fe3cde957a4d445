"""What makes a task the same as another: a key, a context, a period, or nothing."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.identity import canonical_json, is_key_missing, task_identity
from tasker_actors.workflow.template import IdentityStrategy

STRICT, PROVIDED, UNIQUE = IdentityStrategy.STRICT, IdentityStrategy.CALLER_PROVIDED, IdentityStrategy.ALWAYS_UNIQUE


def identity(strategy=None, *, key=None, seconds=None, context=None, name="order", namespace="shop"):
    return task_identity(
        strategy,
        namespace=namespace,
        name=name,
        idempotency_key=key,
        unique_for_seconds=seconds,
        context={"a": 1} if context is None else context,
    )


@pytest.mark.parametrize("strategy", [None, UNIQUE])
def test_a_task_is_like_no_other_unless_somebody_said_so(strategy):
    assert identity(strategy) is None


@pytest.mark.parametrize("strategy", [None, *IdentityStrategy])
def test_a_key_decides_whatever_the_strategy(strategy):
    assert identity(strategy, key="k") == identity(key="k", context={"b": 2}) != identity(key="other")


def test_a_strict_template_compares_contexts():
    assert identity(STRICT) == identity(STRICT, context={"a": 1}) != identity(STRICT, context={"a": 2})


@pytest.mark.parametrize("strategy", [None, STRICT, UNIQUE])
def test_a_period_makes_a_context_unique_where_there_is_no_key(strategy):
    hashed, seconds = identity(strategy, seconds=60).split("/")
    assert (hashed, seconds) == (identity(STRICT), "60")
    assert identity(strategy, seconds=60, key="k") == f"{identity(key='k')}/60"


def test_templates_and_namespaces_share_no_identity():
    found = {
        identity(key="k"),
        identity(key="k", name="refund"),
        identity(key="k", namespace="store"),
        identity(STRICT),
    }
    assert len(found) == 4


def test_a_key_that_reads_like_a_context_is_a_key():
    assert identity(key='{"a":1}') != identity(STRICT)


@pytest.mark.parametrize(
    ("strategy", "key", "missing"),
    [(PROVIDED, None, True), (PROVIDED, "k", False), (STRICT, None, False), (None, None, False)],
)
def test_only_a_template_that_wants_keys_misses_one(strategy, key, missing):
    assert is_key_missing(strategy, key) is missing


def test_canonical_json_has_one_form():
    value = {"b": [1.0, -0.0, 1e3, 0.5, True, None], "a": {"ü": "ü\n", "": []}}
    assert canonical_json(value) == '{"a":{"":[],"ü":"ü\\n"},"b":[1,0,1000,0.5,true,null]}'.encode()


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))


def comparable(value):
    """A value in which 1, 1.0 and true are what JSON takes them for."""
    match value:
        case dict():
            return frozenset((key, comparable(inner)) for key, inner in value.items())
        case list():
            return tuple(comparable(inner) for inner in value)
        case bool() | None | str():
            return (type(value).__name__, value)
        case _:
            return Fraction(value)


@given(VALUES, VALUES)
def test_equal_values_and_no_others_are_written_alike(one, other):
    assert (canonical_json(one) == canonical_json(other)) == (comparable(one) == comparable(other))


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_keys_and_the_way_a_number_is_written_change_nothing(value, shuffling):
    assert canonical_json(rewritten(value, shuffling)) == canonical_json(value)


def rewritten(value, shuffling: random.Random):
    match value:
        case dict():
            keys = list(value)
            shuffling.shuffle(keys)
            return {key: rewritten(value[key], shuffling) for key in keys}
        case list():
            return [rewritten(inner, shuffling) for inner in value]
        case int() if not isinstance(value, bool) and abs(value) < 2**53:
            return float(value)
        case _:
            return value
