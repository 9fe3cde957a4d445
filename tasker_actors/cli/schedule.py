"""`schedule`: tasks that the supervisors create by the clock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer

from tasker_actors.cli import output
from tasker_actors.cli.client import SupervisorClient
from tasker_actors.cli.options import DEFAULT_URL, ApiKey, Cursor, Json, Url
from tasker_actors.cli.task_request import TaskRequest, read_context
from tasker_actors.errors import ConfigurationError
from tasker_actors.workflow.schedule import CatchUp

_COLUMNS = ("name", "template", "cron", "timezone", "next_fire_at", "last_fired_at", "last_error")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")]


def list_schedules(
    *,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAMESPACE", help="Of templates of this namespace.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=200, metavar="N", help="Most schedules of one page.")
    ] = 50,
    cursor: Cursor = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List schedules and when they fire."""
    with SupervisorClient(url, api_key) as client:
        page = client.get("/v1/schedules", namespace=namespace, limit=limit, cursor=cursor)
    if as_json:
        output.write_json(page)
        return
    output.write_table(_COLUMNS, map(_row, page["schedules"]), empty="there are no such schedules")
    if page["next_cursor"] is not None:
        output.note(f"there are more: --cursor {page['next_cursor']}")


def set_schedule(  # noqa: PLR0913 - the options of a command
    name: Name,
    template: Annotated[
        str, typer.Argument(metavar="NAMESPACE/NAME[@VERSION]", help="The template; at each firing its newest version.")
    ],
    *,
    cron: Annotated[str, typer.Option("--cron", metavar="EXPRESSION", help="When it fires, as in '30 6 * * MON-FRI'.")],
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="ZONE", help="Whose clocks are meant, as in Europe/Berlin.")
    ] = "UTC",
    context: Annotated[
        str | None, typer.Option("--context", metavar="JSON", help="Context of each task: a JSON object.")
    ] = None,
    context_file: Annotated[
        Path | None, typer.Option("--context-file", metavar="FILE", help="The same from a file; - is standard input.")
    ] = None,
    scheduled_for_key: Annotated[
        str | None,
        typer.Option("--scheduled-for-key", metavar="KEY", help="Key of the context that gets each firing's moment."),
    ] = None,
    priority: Annotated[int, typer.Option("--priority", metavar="N", help="Priority of each task.")] = 0,
    tags: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag of each task.")] = None,
    catch_up: Annotated[
        CatchUp,
        typer.Option("--catch-up", metavar="POLICY", help=f"What becomes of missed firings: {', '.join(CatchUp)}."),
    ] = CatchUp.LATEST,
    paused: Annotated[bool, typer.Option("--paused", help="Leave it paused.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Create a schedule, or replace it, and show when it fires.

    One that keeps its expression and zone goes on from where it is; another one begins now.
    """
    if context is not None and context_file is not None:
        msg = "give one of --context and --context-file"
        raise ConfigurationError(msg)
    request = TaskRequest.for_template(template, None)
    given = {
        "namespace": request.namespace,
        "template": request.name,
        "version": request.version,
        "cron": cron,
        "timezone": timezone,
        "context": orjson.Fragment(read_context(context or "{}", context_file)),
        "scheduled_for_key": scheduled_for_key,
        "priority": priority,
        "tags": tags or [],
        "catch_up": catch_up,
        "enabled": not paused,
    }
    with SupervisorClient(url, api_key) as client:
        _show(client.put(_path(name), orjson.dumps(given)), as_json=as_json)


def show(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a schedule with its next five firings."""
    with SupervisorClient(url, api_key) as client:
        _show(client.get(_path(name)), as_json=as_json)


def pause(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Let a schedule fire no more."""
    _switch(name, url, api_key, enabled=False, as_json=as_json)


def resume(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Let a paused schedule fire again.

    What was due while it was paused is not made up for.
    """
    _switch(name, url, api_key, enabled=True, as_json=as_json)


def delete(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Delete a schedule; the tasks that it created stay."""
    with SupervisorClient(url, api_key) as client:
        schedule = client.delete(_path(name))
    if as_json:
        output.write_json(schedule)
    else:
        output.write_fields({"deleted": schedule["name"], "last_fired_at": schedule["last_fired_at"]})


def fire(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Create the task of a schedule now, paused or not."""
    with SupervisorClient(url, api_key) as client:
        task = client.post(f"{_path(name)}/fire", b"{}")
    if as_json:
        output.write_json(task)
    else:
        output.write_fields(task)


def _switch(name: str, url: str, api_key: str | None, *, enabled: bool, as_json: bool) -> None:
    with SupervisorClient(url, api_key) as client:
        _show(client.patch(_path(name), orjson.dumps({"enabled": enabled})), as_json=as_json)


def _path(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"


def _show(schedule: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.write_json(schedule)
        return
    fields = {key: value for key, value in schedule.items() if key not in ("next_fire_at", "next_fire_times")}
    output.write_fields({**fields, "template": _template(schedule), "last_error": _error(schedule)})
    output.write_line("")
    if schedule["next_fire_times"]:
        output.write_line("next firings")
        for moment in schedule["next_fire_times"]:
            output.write_line(f"  {moment}")
    elif not schedule["enabled"]:
        output.write_line("it is paused")
    elif schedule["next_fire_at"] is None:
        output.write_line("it fires no more")
    else:
        output.write_line(f"it is due at {schedule['next_fire_at']}, and this supervisor cannot read when after that")


def _row(schedule: dict[str, Any]) -> tuple[object, ...]:
    return (
        schedule["name"],
        _template(schedule),
        schedule["cron"],
        schedule["timezone"],
        schedule["next_fire_at"] if schedule["enabled"] else "paused",
        schedule["last_fired_at"],
        _error(schedule),
    )


def _template(schedule: dict[str, Any]) -> str:
    version = "" if schedule["version"] is None else f"@{schedule['version']}"
    return f"{schedule['namespace']}/{schedule['template']}{version}"


def _error(schedule: dict[str, Any]) -> object:
    error = schedule["last_error"]
    return None if error is None else error["message"]
