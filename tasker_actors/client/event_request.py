"""A durable event that an application publishes together with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EventRequest:
    """An event to publish into the durable queue of its namespace; the payload is anything that JSON has."""

    name: str
    payload: Any
    namespace: str
    correlation_id: str | None = None
    parent_correlation_id: str | None = None
