"""Conversations with a supervisor, written once: a flow says what to send and how long to wait, and a driver does it.

A flow is a generator that yields a Request, and gets the document of its answer, or a Pause. What goes wrong with a
request is raised where it was yielded. The drivers are a thread that blocks (`blocking`) and a coroutine (`awaiting`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from tasker_actors.client.endpoint import Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long."""

    seconds: float


_T = TypeVar("_T")
Flow: TypeAlias = Generator[Request | Pause, Any, _T]
