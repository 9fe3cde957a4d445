"""Giving steps back: the entries of the batch that returns them to their queue, uncounted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tasker_actors.delivery.routing import return_document
from tasker_actors.messages import CommitItem, CommitItems

if TYPE_CHECKING:
    from tasker_actors.steps.ledger import LedgerItem


def give_back(items: Iterable[LedgerItem]) -> CommitItems:
    """Make the message that returns held steps to their queue."""
    return CommitItems(
        tuple(
            CommitItem(
                document=return_document(item.step),
                size=0,
                token=item.step.token,
                task_uuid=item.step.task.task_uuid,
                finished=None,
            )
            for item in items
        )
    )
