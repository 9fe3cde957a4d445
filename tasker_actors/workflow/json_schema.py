"""Checks JSON Schemas when a template is loaded, and values against schemas that were checked.

The dialect is the one that `$schema` names, else 2020-12. References stay inside the schema: nothing is ever fetched.
`format` is an annotation, as the standard has it by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, SchemaRegistry, SchemaResource

MAX_SCHEMA_FAULTS = 20
_MAX_REPEATED_FAULTS = 10 * MAX_SCHEMA_FAULTS
_MAX_MESSAGE = 300

# Python's dialect: a pattern that it cannot compile would fail at the first value instead of at load.
_PATTERNS_COMPILE = FormatChecker(["regex"])

# Without a registry of ours jsonschema would fetch what a reference names over the network.
_NOTHING_ELSE: SchemaRegistry = Registry()

PathFault = tuple[tuple[str | int, ...], str]
"""Where in the schema or the value, and what is wrong there."""


def schema_faults(schema: Mapping[str, Any]) -> list[PathFault]:
    """Say what is wrong with a JSON Schema, at most `MAX_SCHEMA_FAULTS` things.

    Checks it against its meta-schema, its patterns for Python's syntax, and its references for a schema inside it.
    Raises nothing for any JSON object.
    """
    dialect = _dialect(schema)
    if dialect is None:
        named = shortened(repr(schema["$schema"]))
        return [(("$schema",), f"{named} is no JSON Schema dialect that is known here")]
    meta_validator = dialect(dialect.META_SCHEMA, format_checker=_PATTERNS_COMPILE)
    try:
        # The vocabularies of a meta-schema repeat each other: many errors are one fault.
        errors = map(_schema_fault, islice(meta_validator.iter_errors(schema), _MAX_REPEATED_FAULTS))
        found = list(dict.fromkeys(errors))[:MAX_SCHEMA_FAULTS]
        if not found:
            found = [((), message) for message in islice(_reference_faults(schema), MAX_SCHEMA_FAULTS)]
        if not found:
            # References that lead back to themselves without a step into the value never end.
            all(True for _ in compile_schema(schema).iter_errors({}))
    except RecursionError:
        return [((), "the schema is nested too deeply, or refers to itself without end")]
    return found


def value_faults(schema: Mapping[str, Any], value: Any, *, limit: int) -> list[PathFault]:
    """Say what is wrong with a value by a checked schema, at most `limit` things; an empty list means it is good.

    A missing property is reported at the place where it should be. Raises nothing for any JSON value. Messages can
    be stored and sent as JSON, because jsonschema quotes values by their repr, which escapes what JSON cannot carry.
    """
    found: list[PathFault] = []
    try:
        for error in islice(compile_schema(schema).iter_errors(value), limit):
            found.append((_place(error), shortened(error.message)))
    except RecursionError:
        found.append(((), "the value is nested too deeply to be checked"))
    except ArithmeticError as error:
        # A division by `multipleOf` can leave the range of a float.
        found.append(((), f"a number is too large to be checked: {error}"))
    return found


def compile_schema(schema: Mapping[str, Any]) -> Validator:
    """Make a validator of a checked schema; the same content gives the same validator, made once."""
    return _compile(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))


def json_pointer(path: Iterable[str | int]) -> str:
    """Write a path as a JSON pointer (RFC 6901); the empty pointer is the whole value."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def shortened(message: str) -> str:
    """Cut a message that quotes a value to a bearable length."""
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."


@lru_cache(maxsize=512)
def _compile(content: bytes) -> Validator:
    schema = orjson.loads(content)
    dialect = _dialect(schema)
    if dialect is None:
        raise ValueError(f"{schema['$schema']!r} is no JSON Schema dialect that is known here")
    validator: Validator = dialect(schema, registry=_NOTHING_ELSE)
    return validator


def _dialect(schema: Mapping[str, Any]) -> Any:
    """Choose the validator class for `$schema`, or None where it names nothing that jsonschema knows."""
    if "$schema" not in schema:
        return Draft202012Validator
    unknown: Any = None
    return validator_for(schema, default=unknown) if isinstance(schema["$schema"], str) else unknown


def _reference_faults(schema: Mapping[str, Any]) -> Iterator[str]:
    resource: SchemaResource = Resource.from_contents(schema, default_specification=DRAFT202012)
    unvisited = [(resource, _NOTHING_ELSE.resolver_with_root(resource))]
    while unvisited:
        current, resolver = unvisited.pop()
        references = current.contents if isinstance(current.contents, Mapping) else {}
        for keyword in ("$ref", "$dynamicRef"):
            reference = references.get(keyword)
            if isinstance(reference, str) and not _leads_to_schema(resolver, reference):
                yield f"{keyword} {shortened(repr(reference))} leads to no schema inside this one"
        for inner in current.subresources():
            unvisited.append((inner, resolver.in_subresource(inner)))


def _leads_to_schema(resolver: Any, reference: str) -> bool:
    try:
        target = resolver.lookup(reference).contents
    except (Unresolvable, ValueError, AttributeError, TypeError):
        # The last three: referencing walks a pointer through text or numbers without looking what they are.
        return False
    return isinstance(target, bool | Mapping)


def _schema_fault(error: ValidationError) -> PathFault:
    # "Not valid under any of the given schemas" tells an author nothing; the words that are allowed do.
    enumerated = (inner for inner in error.context or () if inner.validator == "enum")
    return tuple(error.absolute_path), shortened(next(enumerated, error).message)


def _place(error: ValidationError) -> tuple[str | int, ...]:
    path = tuple(error.absolute_path)
    if error.validator == "required" and isinstance(error.validator_value, list):
        # jsonschema tells which property is missing in the message only.
        missing = (name for name in error.validator_value if error.message == f"{name!r} is a required property")
        return (*path, *islice(missing, 1))
    return path
