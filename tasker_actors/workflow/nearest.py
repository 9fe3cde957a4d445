"""Finds the name that somebody most likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_CUTOFF = 0.6
_MAX_LENGTH = 200
_MAX_KNOWN = 1_000


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like this one, or None where none is like it.

    Only the first 1,000 known names are compared, and no name over 200 characters: a hostile file must not cost
    minutes of comparing.
    """
    if len(name) > _MAX_LENGTH:
        return None
    matches = difflib.get_close_matches(name, list(islice(known, _MAX_KNOWN)), n=1, cutoff=_CUTOFF)
    return matches[0] if matches else None


def hint(name: str, known: Iterable[str]) -> str:
    """Make the end of a message that suggests the nearest known name; empty where there is none."""
    match = nearest(name, known)
    return f" (did you mean {match!r}?)" if match else ""
