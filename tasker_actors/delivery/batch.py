"""Batches for one transaction: how entries are cut, put into JSON, and replaced when PostgreSQL refuses one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from tasker_actors.delivery.committer import BatchRefusedError
from tasker_actors.delivery.routing import LabelSet, dead_letter_documents, result_document
from tasker_actors.events.outgoing import Derived, OutgoingEvent, RefusedEvent
from tasker_actors.events.text import payload_repr, storable_text
from tasker_actors.messages import CommitItem
from tasker_actors.steps.finished import FinishedStep
from tasker_actors.workflow.outcome import StepFailure
from tasker_actors.workflow.states import StepState

MAX_BATCH_BYTES = 256 * 1024 * 1024
"""What one jsonb value can hold. PostgreSQL ends the connection of who sends it four times as much, which looks like an
outage that never ends: a batch that is larger than this is not sent."""

_OVERHEAD_BYTES = 1024
"""What an entry weighs beside its result and its events."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one transaction may have: entries, their bytes, and the input of the steps that it leases to its worker."""

    max_count: int
    max_bytes: int
    max_continued_bytes: int


def cut(items: Iterable[CommitItem], max_count: int, max_bytes: int) -> Iterator[list[CommitItem]]:
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


def batch_json(
    batch: Sequence[CommitItem], *, worker_id: int, seq: int, lease_ms: int, places: int, max_continued_bytes: int = 0
) -> bytes:
    """Make the one parameter of `tasker.commit_batch_v1`; label sets are written once and referred to by number.

    `max_continued_bytes` is the input of all steps that the commit may lease to its worker: the reply stays small.
    """
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
            "continue_bytes": max_continued_bytes,
            "tasks": sorted(set(_tasks(batch))),
            "results": results,
            "publications": publications,
            "labels": list(labels),
        }
    )


def _tasks(batch: Iterable[CommitItem]) -> Iterator[str]:
    """Name the tasks to lock: those of the entries, and those that steps begin to wait for."""
    for item in batch:
        if item.task_uuid is not None:
            yield item.task_uuid
        if item.finished is not None:
            yield from item.finished.awaited


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

    First the same result with its durable events as dead letters, then a permanent failure without any event. Nothing
    of these can be refused for its content: it is what we wrote ourselves, escaped. What is told of the commit says the
    same as what was stored.
    """
    if item.document.get("events"):
        yield _with_dead_letters(item, reason)
    if item.finished is not None:
        yield _failed(item, item.finished, reason)


def as_dead_letters(derived: Derived, reason: str) -> Derived:
    """Turn durable events into dead letters, because PostgreSQL refuses them for this reason."""
    refused = [_refused(event, reason) for event in derived.events if event.delivery_mode.is_durable]
    return Derived(
        tuple(event for event in derived.events if not event.delivery_mode.is_durable), (*derived.refused, *refused)
    )


def _with_dead_letters(item: CommitItem, reason: str) -> CommitItem:
    finished, publication = item.finished, item.publication
    source = finished or publication
    assert source is not None  # noqa: S101 - only these two have events
    derived = as_dead_letters(source.derived, reason)
    document = {key: value for key, value in item.document.items() if key not in ("events", "dead_letters")}
    document["dead_letters"] = dead_letter_documents(derived.refused)
    size = sum(len(one.dead_letter) for one in derived.refused)
    if finished is not None:
        size += len(finished.result or b"") + sum(map(len, finished.follows.values()))
        return replace(item, document=document, size=size, finished=replace(finished, derived=derived))
    assert publication is not None  # noqa: S101 - as above
    return replace(item, document=document, size=size, publication=replace(publication, derived=derived))


def _failed(item: CommitItem, finished: FinishedStep, reason: str) -> CommitItem:
    failure = StepFailure(
        message=storable_text(f"PostgreSQL refused the result: {reason}"),
        error_type="result_refused",
        retryable=False,
    )
    failed = replace(
        finished,
        outcome=failure,
        state=StepState.ERROR,
        result=None,
        derived=Derived(),
        delay_ms=0,
        follows={},
        started=(),
        awaited=(),
    )
    return replace(item, document=result_document(failed), size=0, finished=failed)


def _refused(event: OutgoingEvent, reason: str) -> RefusedEvent:
    message = orjson.loads(event.message)
    payload = message.pop("payload")
    error = BatchRefusedError(reason)
    letter = {
        "event": message,
        "payload_repr": payload_repr(payload),
        "reason": {"code": "refused_by_database", "message": storable_text(reason), "path": ""},
        "failed_at": message["metadata"]["fired_at"],
    }
    return RefusedEvent(
        event_id=event.event_id,
        event_name=event.event_name,
        namespace=event.namespace,
        delivery_mode=event.delivery_mode,
        publisher=event.publisher,
        publisher_name=event.publisher_name,
        code="refused_by_database",
        reason=storable_text(reason),
        path="",
        dead_letter=orjson.dumps(letter),
        payload=payload,
        error=error,
    )
