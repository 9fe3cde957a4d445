"""What the texts of a template may be. Each function returns its text, or raises ValueError with what is wrong."""

from __future__ import annotations

import re

from tasker_actors.errors import NativeLibraryError
from tasker_actors.events.names import check_event_name, check_namespace
from tasker_actors.native.reference import NATIVE_PREFIX, NativeReference

ALL_STEPS = "ALL"
"""In an environment's overrides this means every step, so no step may have it as its name."""

_MAX_LENGTH = 255
_MAX_CALLABLE_LENGTH = 500
# NAMESPACE/NAME@VERSION must be readable back.
_LIMIT_NAME = re.compile(r"\A[a-z][a-z0-9_.-]{0,63}\Z")
_TEMPLATE_NAME = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def namespace(text: str) -> str:
    """Check a namespace (SPEC 2.2)."""
    return _unless(check_namespace(text), text)


def event_name(text: str) -> str:
    """Check an event's name (SPEC 2.2)."""
    return _unless(check_event_name(text), text)


def template_name(text: str) -> str:
    """Check a template's name."""
    printable(text)
    if not _TEMPLATE_NAME.match(text):
        raise ValueError(f"{text!r} must have only letters, digits, _, - and ., and begin with a letter, a digit or _")
    return text


def step_name(text: str) -> str:
    """Check a step's name."""
    printable(text)
    if text == ALL_STEPS:
        raise ValueError(f"{ALL_STEPS} means every step in environments, so it cannot be the name of one")
    return text


def version(text: str) -> str:
    """Check a version: any text that can be typed after an @."""
    return printable(text)


def callable_path(text: str) -> str:
    """Check the text that names a handler: a registered name, an import path, or `native:PATH#symbol`."""
    printable(text, limit=_MAX_CALLABLE_LENGTH)
    if text.startswith(NATIVE_PREFIX):
        try:
            NativeReference.parse(text)
        except NativeLibraryError as error:
            raise ValueError(str(error)) from error
    return text


def method_name(text: str) -> str:
    """Check the name of a handler's method."""
    if not text.isidentifier() or text.startswith("_"):
        raise ValueError(f"{text[:_MAX_LENGTH]!r} is not the name of a public method")
    return text


def limit_name(text: str) -> str:
    """Check the name of a limit."""
    if not _LIMIT_NAME.match(text):
        shown = repr(text[:_MAX_LENGTH])
        raise ValueError(f"{shown} must be at most 64 lower-case letters, digits, _, - and ., and begin with a letter")
    return text


def context_field(text: str) -> str:
    """Check the path of a field of the context: names with dots between them."""
    printable(text)
    if any(not name or name != name.strip() for name in text.split(".")):
        raise ValueError(f"{text!r} must be names of fields with a dot between them, as in customer.id")
    if any(character in text for character in "[]/"):
        raise ValueError(f"{text!r} must not have brackets or slashes: an entry of a list is written as in items.0.id")
    return text


def printable(text: str, *, limit: int = _MAX_LENGTH) -> str:
    """Check that a text is there, is not too long, and shows what it is."""
    if not text:
        raise ValueError("must not be empty")
    if len(text) > limit:
        raise ValueError(f"has {len(text)} characters, at most {limit} are allowed")
    if text != text.strip():
        raise ValueError("must not begin or end with a space")
    if not text.isprintable():
        raise ValueError("must not contain control characters or line breaks")
    return text


def _unless(fault: str | None, text: str) -> str:
    if fault is not None:
        raise ValueError(fault)
    return text
