"""Ways to spoil a history in which all was well, for tests of the checker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chaos.checker import Known
from chaos.history import History


def drop(kind: str, number: int) -> Callable[[History, Known], None]:
    """Lose one of a kind."""
    return lambda history, _: getattr(history, kind).pop(number)


def repeat(kind: str, number: int) -> Callable[[History, Known], None]:
    """Have one of a kind twice."""
    return lambda history, _: getattr(history, kind).append(getattr(history, kind)[number])


def change(kind: str, number: int, **fields: object) -> Callable[[History, Known], None]:
    """Give one of a kind other fields."""

    def spoil(history: History, _known: Known) -> None:
        rows = getattr(history, kind)
        rows[number] = replace(rows[number], **fields)

    return spoil
