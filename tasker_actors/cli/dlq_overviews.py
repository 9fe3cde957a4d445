"""`dlq stats`, `queue` and `staleness`: what there is to look into, and what may come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, Url

_STATS = (
    "dlq_reason",
    "total_entries",
    "pending",
    "manually_resolved",
    "permanent_failures",
    "cancelled",
    "oldest_entry",
    "avg_resolution_time_minutes",
)
_QUEUE = (
    "priority_score",
    "dlq_entry_uuid",
    "task_uuid",
    "namespace_name",
    "task_name",
    "dlq_reason",
    "minutes_in_dlq",
    "current_state",
)
_STALENESS = (
    "health_status",
    "task_uuid",
    "namespace_name",
    "task_name",
    "current_state",
    "time_in_state_minutes",
    "staleness_threshold_minutes",
)

Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, metavar="N", help="At most N of them.")]


def stats(*, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Count entries by reason."""
    _show(url, api_key, "/v1/dlq/stats", None, _STATS, "there are no entries", as_json=as_json)


def queue(*, limit: Limit = 100, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """List pending entries, the most pressing first."""
    _show(url, api_key, "/v1/dlq/investigation-queue", limit, _QUEUE, "nothing is to be looked into", as_json=as_json)


def staleness(*, limit: Limit = 100, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """List open tasks by how long they have stood still.

    Before they get an entry: what has stood still for longest, by what it may, comes first.
    """
    _show(url, api_key, "/v1/dlq/staleness", limit, _STALENESS, "no task is open", as_json=as_json)


def _show(
    url: str,
    api_key: str | None,
    path: str,
    limit: int | None,
    columns: Sequence[str],
    empty: str,
    *,
    as_json: bool,
) -> None:
    with SupervisorClient(url, api_key) as client:
        rows = client.get_list(path, limit=limit)
    if as_json:
        output.write_json(rows)
        return
    output.write_table(columns, ([_cell(row[column]) for column in columns] for row in rows), empty=empty)


def _cell(value: object) -> object:
    return f"{value:.1f}" if isinstance(value, float) else value
