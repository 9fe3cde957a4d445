"""In which order the cursors of ranges come, as far as that can be known without knowing the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")


def in_order(cursors: Sequence[Any]) -> list[Any] | None:
    """Return what to compare instead of each cursor, or None where nothing is known of their order.

    Numbers and texts of digits are compared as numbers: `"9"` is before `"10"`. Other texts are compared as texts where
    all are of one length, as moments, UUIDs and padded numbers are. Anything else is free-form: texts of several
    lengths, objects, texts beside numbers. Only the data's owner knows which of those comes first.
    """
    numbers = [_number(cursor) for cursor in cursors]
    if None not in numbers:
        return numbers
    return list(cursors) if _are_texts_of_one_length(cursors) else None


def is_after(one: Any, other: Any) -> bool:
    """Tell whether a cursor comes after another however its neighbours are compared; False where that is not known.

    Texts of digits of two lengths are such a case: `"10"` is before `"9"` among keys that are texts.
    """
    if isinstance(one, str) or isinstance(other, str):
        return _are_texts_of_one_length([one, other]) and one > other
    keys = in_order([one, other])
    return keys is not None and keys[0] > keys[1]


def _number(cursor: Any) -> int | float | Decimal | None:
    match cursor:
        case bool():
            return None
        case int() | float():
            return cursor
        case str() if _WHOLE_NUMBER.fullmatch(cursor):
            return Decimal(cursor)  # int() refuses what is longer than 4,300 digits
        case _:
            return None


def _are_texts_of_one_length(cursors: Sequence[Any]) -> bool:
    return all(isinstance(cursor, str) and len(cursor) == len(cursors[0]) for cursor in cursors)
