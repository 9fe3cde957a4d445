"""Identifiers of tasks, steps and events: UUIDv7, so that they sort by the time they were made."""

from __future__ import annotations

import re

import uuid_utils

_UUID_RE = re.compile(r"\A[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def new_uuid7() -> str:
    """Make a UUIDv7 in its canonical lower-case text form (RFC 9562); ids made by one process ascend."""
    return str(uuid_utils.uuid7())


def is_uuid(text: object) -> bool:
    """Tell whether this is a UUID of any version in its 36-character text form, in either case."""
    return isinstance(text, str) and _UUID_RE.match(text) is not None
