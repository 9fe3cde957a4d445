"""What an unquoted YAML scalar means, after the core schema of YAML 1.2 (section 10.3).

PyYAML's own rules are those of YAML 1.1, where `no` is false, `1:30` is 90 and `2025-01-01` is a date object. The
original reads its templates by the rules of 1.2, and everything in a template must be JSON, so these rules hold here.
A number with a leading zero stays text, because it is a code and no quantity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

_KEYWORDS: Mapping[str, bool | None] = MappingProxyType(
    {
        **dict.fromkeys(("", "~", "null", "Null", "NULL")),
        **dict.fromkeys(("true", "True", "TRUE"), True),
        **dict.fromkeys(("false", "False", "FALSE"), False),
    }
)
_INTEGER = re.compile(r"\A[-+]?(?:0|[1-9][0-9]*)\Z")
_RADIX = re.compile(r"\A0(?:o[0-7]+|x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"\A[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NO_NUMBER = re.compile(r"\A(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")

_MIN_INTEGER = -(2**63)
_MAX_INTEGER = 2**64 - 1
_MAX_INTEGER_TEXT = 64
"""No integer in range needs more characters; longer text is not even converted."""
_SHOWN = 40

_TAG_PREFIX = "tag:yaml.org,2002:"

Scalar = str | int | float | bool | None


class ScalarError(ValueError):
    """A scalar that has no place in JSON."""


def plain_scalar(text: str) -> Scalar:
    """Read an unquoted scalar. Raises ScalarError for numbers that JSON cannot carry."""
    if text in _KEYWORDS:
        return _KEYWORDS[text]
    if _INTEGER.match(text):
        return _integer(text, base=10)
    if _RADIX.match(text):
        return _integer(text, base=0)
    if _FLOAT.match(text):
        return _float(text)
    if _NO_NUMBER.match(text):
        raise ScalarError(f"{text} is no number in JSON")
    return storable_text(text)


def tagged_scalar(tag: str, text: str) -> Scalar:
    """Read a scalar with an explicit tag. Raises ScalarError for tags other than YAML's own for JSON values."""
    if tag in ("!", f"{_TAG_PREFIX}str"):
        return storable_text(text)
    name = tag.removeprefix(_TAG_PREFIX)
    if tag == name or name not in ("null", "bool", "int", "float"):
        raise ScalarError(f"tag {tag!r} is not allowed: a template holds plain JSON values")
    value = plain_scalar(text)
    kind = {type(None): "null", bool: "bool", int: "int", float: "float"}.get(type(value))
    if kind == "int" and name == "float":
        return _float(text)
    if kind != name:
        raise ScalarError(f"{_shown(text)} is no {name}")
    return value


def storable_text(text: str) -> str:
    """Return the text if PostgreSQL and JSON can hold it. Raises ScalarError for NUL and lone surrogates."""
    if "\0" in text:
        raise ScalarError("text must not contain NUL (\\0), PostgreSQL cannot store it")
    # A surrogate in a str of Python is always a lone one.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ScalarError("text must not contain a lone surrogate (\\uD800 to \\uDFFF)")
    return text


def _integer(text: str, *, base: int) -> int:
    value = int(text, base) if len(text) <= _MAX_INTEGER_TEXT else _MAX_INTEGER + 1
    if not _MIN_INTEGER <= value <= _MAX_INTEGER:
        raise ScalarError(f"integer {_shown(text)} does not fit 64 bits: write it in quotes")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ScalarError(f"number {_shown(text)} is out of range")
    return value


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
