"""`template validate`: everything that is wrong with template files, without a server."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tasker_actors.cli import output
from tasker_actors.cli.options import Json

_PRODUCTION = "production"
_INVALID = 2


def validate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Template files, or directories with some.")],
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings are errors too, as they are in production.")
    ] = False,
    environment: Annotated[
        str,
        typer.Option(
            "--environment", envvar="TASKER_ENV", metavar="NAME", help="Environment whose overrides are applied."
        ),
    ] = "development",
    handlers: Annotated[
        list[str] | None,
        typer.Option(
            "--handlers",
            metavar="MODULE",
            help="Also check that handlers and publishers are there, in these modules or importable; may be repeated.",
        ),
    ] = None,
    native_directory: Annotated[
        Path,
        typer.Option(
            "--native-directory",
            envvar="TASKER_NATIVE__DIRECTORY",
            metavar="DIR",
            help="With --handlers: where the shared libraries of native handlers are.",
        ),
    ] = Path(),
    max_decision_depth: Annotated[
        int | None,
        typer.Option(
            "--max-decision-depth",
            envvar="TASKER_DECISIONS__MAX_DEPTH",
            min=1,
            metavar="N",
            help="Most decisions on one way through a template, where the setting is not the default.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Report every fault of every template at once.

    The exit code is 2 if there is an error. Needs no server, and no handlers unless --handlers is given. What a file
    says for other environments is checked too.
    """
    from tasker_actors.cli.template_check import check_templates  # noqa: PLC0415  pydantic would slow --help down

    report = check_templates(
        paths,
        environment=environment,
        strict=strict or environment == _PRODUCTION,
        modules=handlers or None,
        native_directory=native_directory,
        max_decision_depth=max_decision_depth,
    )
    if as_json:
        output.write_json(
            {
                "valid": report.is_valid,
                "templates": [asdict(template) for template in report.templates],
                "faults": [asdict(fault) for fault in report.faults],
            }
        )
    else:
        for fault in report.faults:
            output.write_line(f"{fault.severity}: {output.escaped(str(fault))}")
        counts = Counter(fault.severity for fault in report.faults)
        output.note(
            f"{len(report.templates)} templates can be used, {counts['error']} errors, {counts['warning']} warnings"
        )
    if not report.is_valid:
        raise typer.Exit(_INVALID)
