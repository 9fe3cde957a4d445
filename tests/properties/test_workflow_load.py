"""Whatever a file contains, loading it gives a template or errors, and never raises."""

import json
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.workflow.document import read_document
from tasker_actors.workflow.json_schema import schema_faults, value_faults
from tasker_actors.workflow.load import parse_template
from tasker_actors.workflow.template import (
    BatchConfig,
    EventDeclaration,
    HandlerSpec,
    Lifecycle,
    RetrySpec,
    StepTemplate,
    TaskTemplate,
)

printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp"), exclude_characters="\ufeff")
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | printable
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(printable, inner, max_size=3), max_leaves=10
)


def keys_of(*models):
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


KEYS = keys_of(TaskTemplate, StepTemplate, HandlerSpec, RetrySpec, EventDeclaration, BatchConfig, Lifecycle)
WORDS = ["a", "b", "a.b", "ALL", "1.0", "success", "fast", "none", "standard", "native:x#y", "object", ""]
template_like = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats(-2, 5) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*KEYS, "limit", "depends_on", "<<", "test"]), inner, max_size=8)
    ),
    max_leaves=30,
)
steps_like = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "handler": st.just({"callable": "x"})},
        optional={
            "dependencies": st.lists(st.sampled_from("abcd"), max_size=3),
            "retry": template_like,
            "publishes_events": st.lists(st.just({"name": "a.b"}) | template_like, max_size=2),
            "result_schema": template_like,
        },
    ),
    min_size=1,
    max_size=4,
)
nearly_templates = st.fixed_dictionaries(
    {"name": st.just("t"), "namespace_name": st.just("n"), "version": st.just("v1"), "steps": steps_like},
    optional={
        "input_schema": template_like,
        "environments": st.dictionaries(
            st.sampled_from(["test", "production"]), st.fixed_dictionaries({"steps": steps_like}) | template_like
        ),
        "metadata": json_values,
    },
)


def check(text):
    template, faults = parse_template(text, file="f", environment="test")
    assert (template is None) == any(fault.severity == "error" for fault in faults)
    assert all(fault.message and fault.file == "f" for fault in faults)
    assert all(str(fault).isprintable() for fault in faults), "a fault is one line, whatever it quotes"
    if template is not None:
        definition = json.loads(json.dumps(template.definition(), allow_nan=False))
        assert TaskTemplate.from_definition(definition).content_hash() == template.content_hash()


@given(st.text())
def test_any_text(text):
    check(text)


@given(st.text("{}[]:,-?&*!|>'\"%@`#ab<~.0 \n\t", max_size=60))
def test_any_text_of_signs_that_mean_something_in_yaml(text):
    check(text)


@given(template_like | nearly_templates)
def test_any_document_with_the_keys_of_a_template(document):
    check(yaml.safe_dump(document))


REAL = (Path(__file__).parents[2] / "config" / "examples" / "flights" / "departure.yaml").read_text(encoding="utf-8")


@st.composite
def damaged_files(draw):
    """A real template with a few pieces of its text left out, doubled, moved or replaced."""
    text = REAL
    for _ in range(draw(st.integers(1, 4))):
        begin, length = draw(st.integers(0, len(text))), draw(st.integers(0, 30))
        before, piece, after = text[:begin], text[begin : begin + length], text[begin + length :]
        place = draw(st.integers(0, len(after)))
        sign = draw(
            st.sampled_from(["", "\n", " ", ": ", "- ", "*a", "&a ", "!!int ", "\t", "'", "{", "[", "~", "<<: "])
        )
        text = draw(
            st.sampled_from(
                [before + sign + after, before + piece + piece + after, before + after[:place] + piece + after[place:]]
            )
        )
    return text


@given(damaged_files())
def test_a_real_template_with_its_text_damaged(text):
    check(text)


@given(json_values)
def test_json_is_read_as_what_it_is(value):
    read = read_document(json.dumps(value, ensure_ascii=False))
    assert read.faults == []
    assert json.dumps(read.value) == json.dumps(value)


KEYWORDS = ["type", "items", "$ref", "properties", "required", "allOf", "$defs", "$id", "$schema", "pattern"]
schemas = st.dictionaries(
    st.sampled_from(KEYWORDS) | printable,
    json_values | st.sampled_from(["#", "#/items", "#/x", "object", "^a", "("]),
)


@given(schemas, json_values)
def test_any_mapping_is_a_schema_or_has_faults(schema, value):
    if not schema_faults(schema):
        value_faults(schema, value, limit=5)
