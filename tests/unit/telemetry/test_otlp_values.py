"""Attributes in OTLP: types are kept, nothing that can be logged fails."""

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.telemetry.otlp_values import any_value, key_values

TEXT = st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


def test_types_are_kept():
    values = {"s": "x", "i": 1, "big": 2**63, "f": 1.5, "b": True, "y": b"\0", "l": [1, "a"], "d": {"k": 2.0}}
    encoded = {pair.key: pair.value for pair in key_values(values)}
    assert encoded["s"].string_value == "x"
    assert encoded["i"].int_value == 1
    assert encoded["big"].string_value == str(2**63)
    assert encoded["f"].double_value == 1.5
    assert encoded["b"].WhichOneof("value") == "bool_value"
    assert encoded["y"].bytes_value == b"\0"
    assert [item.WhichOneof("value") for item in encoded["l"].array_value.values] == ["int_value", "string_value"]
    assert encoded["d"].kvlist_value.values[0].value.double_value == 2.0


def test_what_is_none_is_no_attribute():
    assert [pair.key for pair in key_values({"a": None, "b": 0})] == ["b"]


def test_a_lone_surrogate_is_written_escaped():
    assert any_value("a\ud800").string_value == r"a\ud800"


@given(JSON)
def test_any_json_can_be_sent(value):
    any_value(value).SerializeToString()
