"""Options and arguments that several commands share, so that each has one name, one default and one help text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tasker_actors.identifiers import is_uuid

DEFAULT_URL = "http://127.0.0.1:8081"
_URL = re.compile(r"https?://[^/?#\s]+(/[^?#\s]*)?")


def _checked_url(value: str) -> str:
    try:
        readable = _URL.fullmatch(value) is not None and urlsplit(value).port != 0
    except ValueError:
        readable = False
    if not readable:
        msg = f"{value!r} is no address of a supervisor: write http://HOST:PORT"
        raise typer.BadParameter(msg)
    return value.rstrip("/")


def _checked_key(value: str | None) -> str | None:
    if value is not None and not (value.isascii() and value.isprintable()):
        msg = "TASKER_API_KEY has characters that an HTTP header cannot carry"
        raise typer.BadParameter(msg)
    return value


def checked_uuid(value: str | None) -> str | None:
    """Return the value if it is a UUID or missing; anything else is a usage error."""
    if value is not None and not is_uuid(value):
        msg = f"{value!r} is no UUID"
        raise typer.BadParameter(msg)
    return value


def checked_uuids(values: list[str] | None) -> list[str] | None:
    """Return the values if each is a UUID; a usage error names the first that is none."""
    for value in values or ():
        checked_uuid(value)
    return values


Url = Annotated[
    str, typer.Option("--url", envvar="TASKER_URL", metavar="URL", help="The supervisor.", callback=_checked_url)
]
# The key comes from the environment: an option would show it to everybody who can list processes.
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar=["TASKER_HTTP__API_KEY", "TASKER_API_KEY"], hidden=True, callback=_checked_key),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on standard output.")]
CorrelationId = Annotated[
    str | None,
    typer.Option("--correlation-id", metavar="UUID", help="With this correlation id.", callback=checked_uuid),
]
TaskUuid = Annotated[str, typer.Argument(metavar="TASK_UUID", help="The task.", callback=checked_uuid)]
StepName = Annotated[str, typer.Argument(metavar="STEP", help="The step: its id or its name.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="That failed this long ago or longer, as in 2h.")
]
NewerThan = Annotated[
    str | None, typer.Option("--newer-than", metavar="TIME", help="That failed this long ago or later.")
]
Cursor = Annotated[
    str | None,
    typer.Option("--cursor", metavar="CURSOR", help="Go on after an earlier page, with the cursor that it named."),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="PostgreSQL URL, else DATABASE_URL, else the embedded server in TASKER_HOME.",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings; needs only what it changes.")
]
TemplateDirectories = Annotated[
    list[Path] | None, typer.Option("--templates", metavar="DIR", help="Directory of templates; may be repeated.")
]
