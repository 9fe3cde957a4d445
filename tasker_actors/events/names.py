"""What a namespace and an event name may be (SPEC 2.2).

The two `*_PATTERN` strings are for JSON Schema and OpenAPI; Python's `$` would let a final newline through, so the
compiled expressions end in `\\Z`.
"""

from __future__ import annotations

import re

MAX_NAMESPACE_LENGTH = 29
"""PGMQ allows 47 characters in a queue name, and `_domain_events_dlq` takes 18 of them."""

MAX_EVENT_NAME_LENGTH = 255

NAMESPACE_PATTERN = r"^[a-z][a-z0-9_]{0,28}$"
EVENT_NAME_PATTERN = r"^[a-z0-9_]+(\.[a-z0-9_]+)+$"

NAMESPACE_RE = re.compile(r"\A[a-z][a-z0-9_]{0,28}\Z")
EVENT_NAME_RE = re.compile(r"\A[a-z0-9_]+(?:\.[a-z0-9_]+)+\Z")

_SHOWN = 80


def check_namespace(text: str) -> str | None:
    """Say what is wrong with a namespace, or return None."""
    if not text:
        return "a namespace must not be empty"
    if len(text) > MAX_NAMESPACE_LENGTH:
        return f"namespace {_shown(text)} has {len(text)} characters, at most {MAX_NAMESPACE_LENGTH} are allowed"
    if not NAMESPACE_RE.match(text):
        return f"namespace {_shown(text)} must start with a-z and have only a-z, 0-9 and _"
    return None


def check_event_name(text: str) -> str | None:
    """Say what is wrong with an event's name, or return None."""
    if not text:
        return "an event name must not be empty"
    if len(text) > MAX_EVENT_NAME_LENGTH:
        return f"event name {_shown(text)} has {len(text)} characters, at most {MAX_EVENT_NAME_LENGTH} are allowed"
    if not EVENT_NAME_RE.match(text):
        return (
            f"event name {_shown(text)} must be two or more segments of a-z, 0-9 and _ joined by dots,"
            " such as payment.processed"
        )
    return None


def _shown(text: str) -> str:
    # ascii() because a lone surrogate in a message would break the terminal or the log that shows it.
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
