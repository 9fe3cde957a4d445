"""Text that PostgreSQL can store, whatever a user's code put into it."""

from __future__ import annotations

import reprlib
from asyncio import CancelledError
from itertools import islice
from typing import Any

_SHORTENED = "… ({} characters)"
_MAX_REPR_NODES = 2000
_MAX_SHOWN_BITS = 1024

USER_ERRORS = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError)
"""What may come out of objects that users made, their `__str__` and their serializers: all but the runtime's own
interruptions of a thread, which are BaseExceptions too and must reach the one who waits for them."""


def storable_text(text: str) -> str:
    """Write NUL characters and lone surrogates, which jsonb refuses, as visible escapes; all else stays as it is."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def shortened(text: str, limit: int) -> str:
    """Cut text that has more than `limit` characters, and say at its end how many it had."""
    return text if len(text) <= limit else text[:limit] + _SHORTENED.format(len(text))


def described(error: BaseException, limit: int = 500) -> str:
    """Give an exception's type and message, storable and short; never raises, whatever its `__str__` does."""
    try:
        text = str(error)
    except USER_ERRORS:
        text = "(its message cannot be shown)"
    return shortened(storable_text(f"{type(error).__name__}: {text}"), limit)


def payload_repr(value: object, limit: int = 4096) -> str:
    """Show any value for a human: escaped, storable, at most `limit` bytes of UTF-8, in bounded time.

    Never raises: an object whose own `__repr__` does is shown by its type.
    """
    try:
        text = _BoundedRepr(limit).repr(value)
    except USER_ERRORS as error:
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    data = storable_text(text).encode()
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode(errors="ignore") + "..."


class _BoundedRepr(reprlib.Repr):
    """`repr` that gives up after a number of nodes, so that a huge or self-sharing value costs no more than a small."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxlevel = 20
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 50
        self.maxstring = self.maxother = limit
        self._nodes_left = _MAX_REPR_NODES

    def repr1(self, x: Any, level: int) -> str:
        """Show one node, or an ellipsis once there were enough."""
        self._nodes_left -= 1
        return "..." if self._nodes_left < 0 else super().repr1(x, level)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Show a dict in its own order: sorting a million keys would cost a second."""
        if level <= 0:
            return "{...}"
        shown = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in islice(x.items(), self.maxdict)]
        return "{" + ", ".join(shown + ["..."] * (len(x) > self.maxdict)) + "}"

    def repr_int(self, x: int, _level: int) -> str:
        """Show an integer, or its size: Python refuses to write very long ones."""
        return repr(x) if x.bit_length() <= _MAX_SHOWN_BITS else f"<int of {x.bit_length()} bits>"

    def repr_bytes(self, x: bytes, _level: int) -> str:
        """Show the beginning of bytes: the whole could be four times their size."""
        return repr(x[: self.maxstring])
