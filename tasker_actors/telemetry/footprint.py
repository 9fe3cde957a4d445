"""About how much memory a value holds, for queues that are bounded in bytes. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

_OBJECT: Final = 64
"""About what a small Python object costs by itself."""


def footprint(value: Any) -> int:
    """Bytes of texts and of bytes, and something for every object around them; for attributes and fields of lines."""
    if isinstance(value, str | bytes):
        return _OBJECT + len(value)
    if isinstance(value, Mapping):
        return _OBJECT + sum(footprint(key) + footprint(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return footprint_of(value)
    return _OBJECT


def footprint_of(values: Iterable[Any]) -> int:
    """The same for several values together."""
    return _OBJECT + sum(map(footprint, values))
