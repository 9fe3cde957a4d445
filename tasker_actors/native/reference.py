"""`native:PATH#symbol`, the `callable` of a native step handler. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from tasker_actors.errors import NativeLibraryError

NATIVE_PREFIX = "native:"
"""Starts the `callable` of a handler in a shared library; no other handler's name may start with it."""

INTERFACE_PREFIX = "tasker_"
"""Starts the names that belong to the interface itself, so that a later version of it can add some."""

_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


@dataclass(frozen=True, slots=True)
class NativeReference:
    """A function of a shared library; `path` is as it was written, relative or absolute."""

    path: str
    symbol: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `native:PATH#symbol`; NativeLibraryError says what is wrong with it."""
        path, separator, symbol = text.removeprefix(NATIVE_PREFIX).rpartition("#")
        if not text.startswith(NATIVE_PREFIX) or not separator:
            msg = f"{text!r} must be {NATIVE_PREFIX}PATH#symbol, as in native:great_circle.so#great_circle"
            raise NativeLibraryError(msg)
        fault = path_fault(path) or symbol_fault(symbol)
        if fault is not None:
            msg = f"{text!r}: {fault}"
            raise NativeLibraryError(msg)
        return cls(path, symbol)

    def __str__(self) -> str:
        return f"{NATIVE_PREFIX}{self.path}#{self.symbol}"


def path_fault(path: str) -> str | None:
    """Say what is wrong with the path of a library before anybody looks for the file; None if nothing is."""
    if not path or not path.isprintable() or path != path.strip():
        return f"{path!r} is no path of a shared library"
    return None


def symbol_fault(symbol: str) -> str | None:
    """Say what is wrong with the name of a function; None if nothing is."""
    if not _SYMBOL.fullmatch(symbol):
        return f"{symbol!r} is no name of a C function"
    if symbol.startswith(INTERFACE_PREFIX):
        return f"{symbol!r}: names that start with {INTERFACE_PREFIX} belong to the interface; give it another one"
    return None
