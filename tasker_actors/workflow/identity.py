"""The identity of a task: what no two tasks of one template share, whatever the version of the template.

A task without one is like no other. The unique index on `tasker.tasks.identity_hash` enforces it; where a task is
unique for a period, the database adds the number of the period that its own clock is in (migration 0012).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tasker_actors.workflow.template import IdentityStrategy

MAX_UNIQUE_SECONDS = 31_536_000
"""A year."""


def is_key_missing(strategy: IdentityStrategy | None, idempotency_key: str | None) -> bool:
    """Return whether the template wants its callers to say what makes a task unique, and this one did not."""
    return strategy is IdentityStrategy.CALLER_PROVIDED and idempotency_key is None


def task_identity(
    strategy: IdentityStrategy | None,
    *,
    namespace: str,
    name: str,
    idempotency_key: str | None,
    unique_for_seconds: int | None,
    context: dict[str, Any],
) -> str | None:
    """Return a task's identity, None if it has none: `HASH`, or `HASH/SECONDS` where it holds for a period only.

    A key decides, whatever the strategy. Without one the context does, under `strict` and where a period is given. A
    template that names no strategy is `always_unique`: who said nothing is refused nothing.
    """
    if idempotency_key is not None:
        hashed = _hash("key", namespace, name, idempotency_key.encode())
    elif strategy is IdentityStrategy.STRICT or unique_for_seconds is not None:
        hashed = _hash("context", namespace, name, canonical_json(context))
    else:
        return None
    return hashed if unique_for_seconds is None else f"{hashed}/{unique_for_seconds}"


def canonical_json(value: Any) -> bytes:
    """Write a JSON value so that equal values are equal bytes: keys sorted, no spaces, and 1.0 is 1.

    JSON has one kind of number, and clients in some languages write every number with a point.
    """
    text = json.dumps(_settled(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def _settled(value: Any) -> Any:
    match value:
        case dict():
            return {key: _settled(inner) for key, inner in value.items()}
        case list():
            return [_settled(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _hash(kind: str, namespace: str, name: str, content: bytes) -> str:
    """Hash what decides, with whose it is; neither name has a line end. The migration hashes keys in the same way."""
    return hashlib.sha256(f"{kind}\n{namespace}\n{name}\n".encode() + content).hexdigest()
