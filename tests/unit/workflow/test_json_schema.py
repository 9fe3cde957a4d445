import socket

import pytest
from referencing.exceptions import Unresolvable

from tasker_actors.workflow.json_schema import compile_schema, json_pointer, schema_faults, value_faults

DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}},
        {"properties": {"child": {"$ref": "#"}}},
        {"$defs": {"x": {"$anchor": "here"}}, "$ref": "#here"},
        {"$id": "https://example.com/root", "$defs": {"x": {"$id": "x", "type": "null"}}, "$ref": "x"},
        {"$schema": DRAFT_7, "definitions": {"a": True}, "items": {"$ref": "#/definitions/a"}},
        {"properties": {"a": {"pattern": "^[a-z]+$"}}},
    ],
)
def test_schemas_without_fault(schema):
    assert schema_faults(schema) == []


@pytest.mark.parametrize(
    ("schema", "path", "words"),
    [
        ({"type": "objekt"}, ("type",), "'objekt' is not one of"),
        ({"properties": {"a": {"minimum": "x"}}}, ("properties", "a", "minimum"), "'x'"),
        ({"items": 3}, ("items",), "3 is not"),
        ({"pattern": "("}, ("pattern",), "'('"),
        ({"patternProperties": {"[": {}}}, ("patternProperties",), "'['"),
        ({"$schema": "https://example.com/mine"}, ("$schema",), "no JSON Schema dialect"),
        ({"$schema": ["x"]}, ("$schema",), "no JSON Schema dialect"),
        ({"$ref": "#/$defs/a"}, (), "leads to no schema"),
        ({"$ref": "#/title", "title": "text"}, (), "leads to no schema"),
        ({"$ref": "#/required/x", "required": ["a"]}, (), "leads to no schema"),
        ({"properties": {"a": {"$ref": "other.json"}}}, (), "leads to no schema"),
        ({"$ref": "#"}, (), "refers to itself without end"),
        ({"allOf": [{"$ref": "#/allOf/0"}]}, (), "refers to itself without end"),
    ],
)
def test_faults_of_schemas_tell_where(schema, path, words):
    ((found, message),) = schema_faults(schema)
    assert found == path
    assert words in message


def test_all_faults_of_a_schema_are_told():
    schema = {"type": 3, "minimum": "x", "properties": {"a": {"required": "x"}}}
    assert {path for path, _ in schema_faults(schema)} == {("type",), ("minimum",), ("properties", "a", "required")}


def test_nothing_is_fetched(monkeypatch):
    attempts = []

    def refuse(*arguments, **_options):
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    schema = {"$ref": "http://example.com/schema.json"}
    assert schema_faults(schema)
    with pytest.raises(Unresolvable):
        compile_schema(schema).is_valid({})
    assert attempts == []


def test_the_same_content_is_compiled_once():
    assert compile_schema({"type": "object", "title": "t"}) is compile_schema({"title": "t", "type": "object"})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"$ref": "#/items"}}, [1]),
        ({"properties": {"n": {"multipleOf": 0.1}}}, {"n": 10**400}),
    ],
)
def test_values_that_cannot_be_checked_are_faults_and_raise_nothing(schema, value):
    ((path, message),) = value_faults(schema, value, limit=10)
    assert path == ()
    assert "to be checked" in message


def test_pointers_escape_their_own_signs():
    assert json_pointer(()) == ""
    assert json_pointer(("a/b", 0, "~", "")) == "/a~1b/0/~0/"
