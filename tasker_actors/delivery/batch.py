"""Batches for one transaction: how entries are cut, put into JSON, and replaced when PostgreSQL refuses one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from tasker_actors.delivery.routing import LabelSet
from tasker_actors.events.derive import Derived
from tasker_actors.events.outgoing import OutgoingEvent
from tasker_actors.events.text import payload_repr, storable_text
from tasker_actors.messages import CommitItem

_OVERHEAD_BYTES = 1024
"""What an entry weighs beside its result and its events."""


def cut(items: Sequence[CommitItem], max_count: int, max_bytes: int) -> Iterator[list[CommitItem]]:
    """Cut entries into batches in order, bounded by count and bytes; one that is larger than a batch goes alone."""
    batch: list[CommitItem] = []
    size = 0
    for item in items:
        weight = item.size + _OVERHEAD_BYTES
        if batch and (len(batch) >= max_count or size + weight > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += weight
    if batch:
        yield batch


def batch_json(batch: Sequence[CommitItem], *, worker_id: int, seq: int, lease_ms: int, places: int) -> bytes:
    """Make the one parameter of `tasker.commit_batch_v1`; label sets are written once and referred to by number."""
    labels: dict[LabelSet, int] = {}
    results: list[dict[str, Any]] = []
    publications: list[dict[str, Any]] = []
    for item in batch:
        document = _numbered(item.document, labels)
        (publications if item.publication is not None else results).append(document)
    return orjson.dumps(
        {
            "worker": worker_id,
            "seq": seq,
            "lease_ms": lease_ms,
            "continue": places,
            "tasks": sorted({item.task_uuid for item in batch if item.task_uuid is not None}),
            "results": results,
            "publications": publications,
            "labels": list(labels),
        }
    )


def _numbered(document: dict[str, Any], labels: dict[LabelSet, int]) -> dict[str, Any]:
    if "events" not in document and "dead_letters" not in document:
        return document
    numbered = dict(document)
    for kind in ("events", "dead_letters"):
        if kind in document:
            numbered[kind] = [
                {**entry, "label": labels.setdefault(entry["label"], len(labels))} for entry in document[kind]
            ]
    return numbered


def fallbacks(item: CommitItem, reason: str) -> Iterator[CommitItem]:
    """Give what to store instead of an entry that PostgreSQL refuses by itself (DESIGN 3 rule 7).

    First the same result with its events as dead letters, then a permanent failure without any event. Nothing of it can
    be refused for its content: it holds only what we wrote ourselves, escaped.
    """
    letters = _as_dead_letters(item, reason)
    if letters is not None:
        yield letters
    if item.finished is not None:
        step = item.finished.step
        failure = {
            "token": step.token,
            "task": step.task.task_uuid,
            "position": step.plan.position,
            "attempt": step.attempt,
            "outcome": "error",
            "duration_ms": round(item.finished.duration_ms, 3),
            "error": {
                "error_type": "result_refused",
                "error_code": None,
                "message": storable_text(f"PostgreSQL refused the result: {reason}"),
                "retryable": False,
            },
        }
        finished = replace(item.finished, state="error", result=None, derived=Derived())
        yield replace(item, document=failure, size=0, finished=finished)


def _as_dead_letters(item: CommitItem, reason: str) -> CommitItem | None:
    entries = item.document.get("events")
    source = item.finished or item.publication
    if not entries or source is None:
        return None
    events = [event for event in source.derived.events if event.delivery_mode.is_durable]
    letters = [
        {"message": _letter(event, reason), "label": entry["label"]}
        for event, entry in zip(events, entries, strict=True)
    ]
    document = {key: value for key, value in item.document.items() if key != "events"}
    document["dead_letters"] = [*document.get("dead_letters", ()), *letters]
    return replace(item, document=document, size=0)


def _letter(event: OutgoingEvent, reason: str) -> dict[str, Any]:
    message = orjson.loads(event.message)
    payload = message.pop("payload")
    return {
        "event": message,
        "payload_repr": payload_repr(payload),
        "reason": {"code": "refused_by_database", "message": storable_text(reason), "path": ""},
        "failed_at": message["metadata"]["fired_at"],
    }
