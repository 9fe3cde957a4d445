"""`events list`: durable domain events, as consumers find them in the queues."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, CorrelationId, Json, Url

_COLUMNS = ("fired_at", "namespace", "event_name", "step_name", "status", "correlation_id", "event_id")


def list_events(
    *,
    correlation_id: CorrelationId = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAMESPACE", help="Of this namespace.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, metavar="N", help="The newest N of them.")] = 100,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List durable events in the order in which they were fired."""
    with SupervisorClient(url, api_key) as client:
        document = client.get("/v1/events", correlation_id=correlation_id, namespace=namespace, limit=limit)
    if as_json:
        output.write_json(document)
        return
    output.write_table(_COLUMNS, (_row(event) for event in document["events"]), empty="there are no such events")
    if document["truncated"]:
        output.note(f"only the newest {len(document['events'])} are shown: raise --limit, or narrow the search")


def _row(event: dict[str, Any]) -> tuple[object, ...]:
    metadata = event["metadata"]
    return (
        metadata["fired_at"],
        metadata["namespace"],
        event["event_name"],
        metadata["step_name"],
        (event["execution"] or {}).get("status"),
        metadata["correlation_id"],
        event["event_id"],
    )
