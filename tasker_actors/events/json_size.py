"""How large JSON becomes in PostgreSQL, whose `jsonb` writes numbers without exponents: 1e308 has 309 digits there."""

from __future__ import annotations

import re

_MAYBE_RE = re.compile(rb"[0-9]e[-+]?[0-9]")
# Texts are passed over whole, so that an exponent in one does not count.
_EXPONENT_RE = re.compile(rb'"(?:[^"\\]|\\.)*"|[0-9]e[-+]?([0-9]+)')


def stored_bytes(data: bytes) -> int:
    """Return how many bytes, or a few more, PostgreSQL gives back for JSON that orjson has written; spaces apart.

    A limit on what was sent alone would let 6 bytes become 310, and a megabyte 50.
    """
    if _MAYBE_RE.search(data) is None:
        return len(data)
    return len(data) + sum(int(found[1]) for found in _EXPONENT_RE.finditer(data) if found[1])
