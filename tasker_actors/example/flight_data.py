"""The files of the worked example: one day's flights, and what a handler looks up for them.

Each table is read at its first use and kept, so once in a process: a worker reads what its handlers ask for.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FLIGHTS_DIRECTORY = Path(__file__).resolve().parents[2] / "config" / "examples" / "flights"
"""The template and, in `data`, the files; a part of the repository and not of the installed package."""

Row = Mapping[str, Any]

# Every other column holds numbers. A plane's model may look like one, and is none.
_TEXT_COLUMNS = frozenset(
    {"carrier", "tailnum", "origin", "dest", "time_hour", "name", "type", "manufacturer", "model", "engine"}
)
_MISSING = "NA"


def flights() -> list[Row]:
    """Return the flights of 8 February 2013 in the order of the file; each is the context of one task."""
    return _rows("flights-2013-02-08.csv")


@cache
def weather() -> Mapping[tuple[str, int], Row]:
    """Return the hourly weather by airport and local hour of the day."""
    return {(row["origin"], row["hour"]): row for row in _rows("weather-2013-02-08.csv")}


@cache
def planes() -> Mapping[str, Row]:
    """Return the known planes by tail number."""
    return {row["tailnum"]: row for row in _rows("planes.csv")}


@cache
def airlines() -> Mapping[str, str]:
    """Return the names of the airlines by carrier code."""
    return {row["carrier"]: row["name"] for row in _rows("airlines.csv")}


def _rows(file: str) -> list[Row]:
    """Read a table; raises OSError if it is not there, ValueError for a number that is none."""
    with (FLIGHTS_DIRECTORY / "data" / file).open(encoding="utf-8", newline="") as lines:
        return [{column: _value(column, text) for column, text in row.items()} for row in csv.DictReader(lines)]


def _value(column: str, text: str) -> str | int | float | None:
    if text == _MISSING:
        return None
    if column in _TEXT_COLUMNS:
        return text
    return float(text) if "." in text else int(text)
