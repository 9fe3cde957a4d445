"""Which release of this package runs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def release() -> str:
    """Return the version of the installed package; its metadata is read once, because that takes milliseconds."""
    return version("tasker-actors")
