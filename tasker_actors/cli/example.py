"""`example`: the worked example, from nothing to its events."""

from __future__ import annotations

from typing import Annotated

import typer

from tasker_actors.cli.options import Json


def example(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the supervisor running and the database in place afterwards.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Worker processes.")] = 2,
    as_json: Json = False,
) -> None:
    """Run the worked example: one real day of flights, in a blizzard."""
    from tasker_actors.example.command import run_example  # noqa: PLC0415  it loads the whole runtime

    raise typer.Exit(run_example(keep=keep, as_json=as_json, workers=workers))
