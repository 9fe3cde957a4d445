"""Kinds of values that several settings share: what they may be, and how a text becomes one."""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_DAY_MS = 86_400_000
MIB = 1024 * 1024
_BIND = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+):(?P<port>\d{1,5})")
_PORT_MAX = 65_535


def _refuse_bool(value: Any) -> Any:
    """Raise for true and false, which Python would take for 1 and 0."""
    if isinstance(value, bool):
        msg = "must be a number, not true or false"
        raise ValueError(msg)
    return value


def split_list(value: Any) -> Any:
    """Make a list of a comma-separated text, the form in which an environment variable gives a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def parse_json(value: Any) -> Any:
    """Parse a text as JSON, the form in which an environment variable gives tables; other values are left alone."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        msg = f"must be JSON ({error})"
        raise ValueError(msg) from error


def available_cpus() -> int:
    """Return how many CPUs this process may use, which is fewer than the machine has under an affinity mask."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_bind_address(text: str) -> bool:
    """Return whether the text is HOST:PORT, an IPv6 address in brackets."""
    match = _BIND.fullmatch(text)
    return match is not None and int(match["port"]) <= _PORT_MAX


Count = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=100_000)]
Limit = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=0, le=100_000)]
Depth = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=200)]
"""Levels of nesting. More than 254 neither orjson writes nor Python's recursion takes everywhere."""
Milliseconds = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=_DAY_MS)]
Minutes = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=527_040)]
"""A year at most."""
Lifetime = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=365 * _DAY_MS)]
WorkDone = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=10**12)]
Memory = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=MIB * MIB)]
Bytes = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1024, le=256 * MIB)]
MessageBytes = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=MIB, le=256 * MIB)]
"""What the runtime itself sends between its processes always fits into the least."""
BlockBytes = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=MIB, le=256 * MIB, multiple_of=4096)]
Days = Annotated[float, BeforeValidator(_refuse_bool), Field(gt=0, le=36_500, allow_inf_nan=False)]
Fraction = Annotated[float, BeforeValidator(_refuse_bool), Field(ge=0, le=1, allow_inf_nan=False)]
