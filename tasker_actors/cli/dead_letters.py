"""`events dlq`: events that could not be published, and how they are published after all."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.durations import moment_ago
from tasker_actors.cli.errors import InputFileError, WorkFailedError
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Json, NewerThan, OlderThan, Url, checked_uuids
from tasker_actors.errors import ConfigurationError

_COLUMNS = ("failed_at", "namespace", "event_name", "event_id", "code", "reason", "can be redriven")


def list_dead_letters(
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAMESPACE", help="Of this namespace.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, metavar="N", help="At most N of them.")] = 100,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List events that could not be published, with the reason."""
    with SupervisorClient(url, api_key) as client:
        document = client.get("/v1/events/dlq", namespace=namespace, limit=limit)
    if as_json:
        output.write_json(document)
        return
    letters = document["dead_letters"]
    output.write_table(_COLUMNS, (_row(letter) for letter in letters), empty="there are no dead letters")
    if document["truncated"]:
        output.note(f"only {len(letters)} are shown: raise --limit, or name a --namespace")


def redrive(
    event_ids: Annotated[
        list[str] | None, typer.Argument(metavar="EVENT_ID", help="The events.", callback=checked_uuids)
    ] = None,
    *,
    namespace: Annotated[str, typer.Option("--namespace", metavar="NAMESPACE", help="Namespace of the events.")],
    everything: Annotated[bool, typer.Option("--all", help="All dead letters of the namespace.")] = False,
    event_name: Annotated[
        str | None, typer.Option("--event", metavar="NAME", help="All of the namespace with this event name.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="CODE", help="All of the namespace with this code.")
    ] = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    payload: Annotated[
        str | None,
        typer.Option("--payload", metavar="JSON", help="Publish a single event with this payload instead of its own."),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Publish dead letters with the event ids that they have.

    Named ones, those that filters find, or all of a namespace. What is refused again stays where it is, and the exit
    code is 1. A dead letter whose payload could not be stored needs a new --payload.
    """
    chosen = list(event_ids or [])
    filters = {
        "event_name": event_name,
        "reason": reason,
        "failed_before": moment_ago("--older-than", older_than),
        "failed_after": moment_ago("--newer-than", newer_than),
    }
    narrowed = {key: value for key, value in filters.items() if value is not None}
    if sum((bool(chosen), everything, bool(narrowed))) != 1:
        msg = "name the events to redrive, or give filters, or --all"
        raise ConfigurationError(msg)
    if payload is not None and len(chosen) != 1:
        msg = "--payload is for a single event: name it"
        raise ConfigurationError(msg)
    with SupervisorClient(url, api_key) as client:
        outcome = _redrive(client, namespace, chosen, payload) if chosen else _redrive_all(client, namespace, narrowed)
    redriven, refused = outcome["redriven"], outcome["refused"]
    if as_json:
        output.write_json({"redriven": redriven, "refused": refused})
    else:
        for letter in redriven:
            output.write_line(output.shown(letter["event_id"]))
        output.note(f"published {len(redriven)} events")
    if refused:
        lines = [f"  {letter.get('event_id') or letter.get('msg_id')}: {letter['message']}" for letter in refused]
        msg = "\n".join([f"{len(refused)} events were refused again and stay dead letters", *lines])
        raise WorkFailedError(msg)


def _redrive(client: SupervisorClient, namespace: str, event_ids: list[str], payload: str | None) -> dict[str, Any]:
    request: dict[str, Any] = {"namespace": namespace, "event_ids": event_ids}
    if payload is not None:
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            msg = f"--payload: not valid JSON: {error}"
            raise InputFileError(msg) from error
        request["payload"] = orjson.Fragment(payload)
    return client.post("/v1/events/dlq/redrive", orjson.dumps(request))


def _redrive_all(client: SupervisorClient, namespace: str, filters: dict[str, str]) -> dict[str, Any]:
    """Redrive batch after batch, each behind the last message of the one before: what is refused is not tried twice."""
    redriven: list[Any] = []
    refused: list[Any] = []
    after: int | None = None
    with output.progress_bar() as progress:
        bar = progress.add_task("Publishing dead letters", total=None)
        while True:
            request: dict[str, Any] = {"namespace": namespace, "all": True, **filters}
            if after is not None:
                request["after_msg_id"] = after
            outcome = client.post("/v1/events/dlq/redrive", orjson.dumps(request))
            redriven.extend(outcome["redriven"])
            refused.extend(outcome["refused"])
            progress.update(bar, completed=len(redriven))
            after = outcome["next_after_msg_id"]
            if after is None:
                return {"redriven": redriven, "refused": refused}


def _row(letter: dict[str, Any]) -> tuple[object, ...]:
    event, reason = letter["event"], letter["reason"]
    return (
        letter["failed_at"],
        letter["namespace"],
        event.get("event_name"),
        event.get("event_id"),
        reason["code"],
        reason["message"],
        letter["redrivable"],
    )
