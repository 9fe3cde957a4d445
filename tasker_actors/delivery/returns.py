"""Giving steps back: the entries of the batch that returns them to their queue, uncounted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tasker_actors.delivery.routing import return_document
from tasker_actors.messages import CommitItem, CommitItems

if TYPE_CHECKING:
    from tasker_actors.steps.lease import LeasedStep
    from tasker_actors.steps.ledger import LedgerItem


def give_back(items: Iterable[LedgerItem]) -> CommitItems:
    """Make the message that returns held steps to their queue."""
    return CommitItems(tuple(returned(item.step) for item in items))


def returned(step: LeasedStep) -> CommitItem:
    """Make the entry that returns one step."""
    return CommitItem(
        document=return_document(step),
        size=0,
        token=step.token,
        task_uuid=step.task.task_uuid,
        finished=None,
    )
