from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from support import waiting

from tasker_actors.actors import ActorSystem, MessageRegistry

RELAYED_ASKS = 5


@dataclass
class Heard:
    """What a system reported through its callbacks, in order."""

    restarts: list[tuple[str, str]] = field(default_factory=list)
    escalations: list[tuple[str, str]] = field(default_factory=list)
    undeliverable: list[tuple[str, str, str]] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)

    def system(self, name: str, registry: MessageRegistry | None = None) -> ActorSystem:
        return ActorSystem(
            name,
            registry=registry,
            escalate=lambda actor, reason: self.escalations.append((actor, reason)),
            on_restart=lambda actor, reason, error: self.restarts.append((actor, reason)),
            on_undeliverable=lambda address, message, reason: self.undeliverable.append((address, message, reason)),
            on_link_drop=lambda messages, reason: self.drops.update({reason: messages}),
            max_relayed_asks=RELAYED_ASKS,
        )


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def system(heard: Heard) -> Iterator[ActorSystem]:
    system = heard.system("worker-1")
    yield system
    assert system.stop_all([], time.monotonic() + 5) == ()


def wait_for(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Poll a condition that no event announces, with a deadline."""
    waiting.until(lambda: bool(condition()), timeout)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_for
