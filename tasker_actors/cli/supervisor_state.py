"""`workers` and `stats`: how the running processes are."""

from __future__ import annotations

from collections.abc import Mapping

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, Url

_COLUMNS = (
    "slot",
    "host",
    "pid",
    "incarnation",
    "alive",
    "state",
    "in_flight",
    "restarts",
    "started_at",
    "last_reason",
)


def workers(*, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """List the workers of every supervisor on this database.

    Those that ended a short time ago are shown too.
    """
    with SupervisorClient(url, api_key) as client:
        document = client.get("/v1/workers")
    if as_json:
        output.write_json(document)
        return
    rows = (tuple(worker.get(column) for column in _COLUMNS) for worker in document["workers"])
    output.write_table(_COLUMNS, rows, empty="there are no workers")


def stats(*, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show the counts of events since the supervisor started.

    The first figure is the sum over all workers that there were; the others are of each slot.
    """
    with SupervisorClient(url, api_key) as client:
        document = client.get("/metrics/events")
    if as_json:
        output.write_json(document)
        return
    slots = sorted(document["workers"], key=lambda worker: (worker["slot"], worker["incarnation"]))
    headings = [f"slot {worker['slot']}" + ("" if worker["alive"] else " (ended)") for worker in slots]
    rows: list[tuple[object, ...]] = []
    for part in ("router", "in_process_bus"):
        figures: Mapping[str, object] = document[part]
        rows.extend(
            (f"{part}.{name}", figure, *(worker[part].get(name) for worker in slots))
            for name, figure in figures.items()
        )
    output.write_table(("figure", "all", *headings), rows, empty="nothing was counted")
    output.note(f"supervisor {document['worker_id']} at {document['captured_at']}")
