"""`limits list`: what of each limit is in use, and who waits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, Url

_COLUMNS = ("namespace", "limit", "value", "allowed", "in_use", "parked", "opens_at")


def list_limits(
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAMESPACE", help="Of this namespace.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, metavar="N", help="At most N of them.")] = 100,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List limits by key.

    Those come first for which most steps wait. A limit by a field of the context has a line for each value that is in
    use.
    """
    with SupervisorClient(url, api_key) as client:
        document = client.get("/v1/limits", namespace=namespace, limit=limit)
    if as_json:
        output.write_json(document)
    else:
        output.write_table(_COLUMNS, (_row(found) for found in document["limits"]), empty="there are no limits")


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    seconds = found["period_seconds"]
    return (
        found["namespace"],
        found["name"],
        found["value"],
        f"{found['limit']} at a time" if seconds is None else f"{found['limit']} in {seconds} s",
        found["in_use"],
        found["parked"],
        found["opens_at"],
    )
