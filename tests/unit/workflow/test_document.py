import pytest
import yaml

from tasker_actors.workflow import document
from tasker_actors.workflow.document import MAX_DEPTH, read_document


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def parser(request, monkeypatch):
    """Both parsers that PyYAML may have must give the same."""
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(document, "_LOADER", getattr(yaml, request.param))


def value_of(text):
    read = read_document(text)
    assert read.faults == []
    return read.value


def faults_of(text):
    return [(fault.path, fault.message) for fault in read_document(text).faults]


def test_a_document_becomes_json_values():
    text = """
---
a: {b: [1, 2.5, true, ~, "true", 'no', no]}
"c d": |-
  two
  lines
e: 2025-01-01
"""
    assert value_of(text) == {
        "a": {"b": [1, 2.5, True, None, "true", "no", "no"]},
        "c d": "two\nlines",
        "e": "2025-01-01",
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~"])
def test_an_empty_document_is_null(text):
    assert value_of(text) is None


def test_aliases_and_merge_keys():
    text = """
base: &base {retries: 3, nested: &nested {x: 1}}
other: &other {retries: 5, more: 6}
one: {<<: *base, own: 1}
two: {own: 2, <<: [*base, *other], retries: 9}
again: *nested
"""
    read = value_of(text)
    assert read["one"] == {"retries": 3, "nested": {"x": 1}, "own": 1}
    assert read["two"] == {"own": 2, "retries": 9, "nested": {"x": 1}, "more": 6}
    assert read["again"] == {"x": 1}


def test_a_merge_key_in_quotes_is_a_key_like_any_other():
    assert value_of('{"<<": 1, a: <<, b: "<<"}') == {"<<": 1, "a": "<<", "b": "<<"}


def test_a_key_written_twice_is_a_fault_that_names_place_and_line_and_the_rest_is_read():
    read = read_document("a:\n  - b: 1\n    c: 2\n    b: 3\nd: 4\n")
    assert [(fault.path, fault.message) for fault in read.faults] == [
        (("a", 0, "b"), "line 4: key 'b' is written twice in the same mapping")
    ]
    assert read.value == {"a": [{"b": 1, "c": 2}], "d": 4}


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("a: {1: x}", ("a",), "key 1 must be text"),
        ("a: {true: x}", ("a",), "key True must be text"),
        ("a: {? [b] : x}", ("a",), "key a collection must be text"),
        ("a: [.nan]", ("a", 0), "no number in JSON"),
        ('a: "\\0"', ("a",), "NUL"),
        ("a: !!binary aGk=", ("a",), "tag"),
        ("a: !!set {b, c}", ("a",), "tag"),
        ("a: !!python/object/apply:os.system [ls]", ("a",), "tag"),
        ("a: *b", ("a",), "no anchor before it"),
        ("a: &a [1, *a]", ("a", 1), "part of"),
        ("a: {<<: 3}", ("a", "<<"), "mapping or a list of mappings"),
        ("a: 1\n---\nb: 2", (), "second document"),
    ],
)
def test_faults_in_values_tell_where(text, path, words):
    ((found, message),) = faults_of(text)
    assert found == path
    assert words in message
    assert message.startswith("line ")


@pytest.mark.parametrize("text", ["a: [", "\tx", "a: b: c", "'", "%YAML 9.9\n---\n", "\x07", '"\\UFFFFFFFF"', "@"])
def test_what_is_no_yaml_gives_one_fault_and_no_value(text):
    read = read_document(text)
    assert read.value is None
    assert len(read.faults) == 1
    assert "\n" not in read.faults[0].message


def test_depth_is_bounded():
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    ((path, message),) = faults_of("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert path == ()
    assert f"more than {MAX_DEPTH} levels" in message


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)),
        f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 1_000)}]\n",
        "a: &a {k: 1}\nb: [" + "{<<: *a}," * 80_000 + "]\n",
    ],
    ids=["nested aliases", "long text", "merge keys"],
)
def test_aliases_cost_what_they_would_cost_written_out(text):
    (fault,) = read_document(text).faults
    assert "too large once its aliases are written out" in fault.message


def test_the_number_of_faults_is_bounded():
    assert len(faults_of("[" + ".nan, " * 5_000 + "]")) == document.MAX_FAULTS
