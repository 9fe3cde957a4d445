"""`run`: the supervisor with its workers, until a signal ends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tasker_actors.cli.configuration import read_settings
from tasker_actors.cli.options import ConfigFile, DatabaseUrl, TemplateDirectories


def run(
    *,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Worker processes; the number of CPUs by default.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="M", help="Steps that a worker runs at the same time; 8.")
    ] = None,
    bind: Annotated[
        str | None,
        typer.Option(
            "--bind", metavar="HOST:PORT", help="Where to listen for HTTP; 127.0.0.1:8081. Port 0: a free one."
        ),
    ] = None,
    config: ConfigFile = None,
    templates: TemplateDirectories = None,
    handlers: Annotated[
        list[str] | None,
        typer.Option(
            "--handlers",
            metavar="MODULE",
            help="Module with handlers, publishers and subscribers, importable from the working directory or "
            "PYTHONPATH; may be repeated.",
        ),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Start the supervisor and its workers.

    Options win over environment variables (TASKER_WORKER__COUNT=4), these over the file of --config, that over the
    defaults.

    Signals: TERM and INT finish what runs and stop, a second one stops at once; HUP replaces the workers one by one;
    TTIN and TTOU add and remove a worker; USR1 logs every process's state and thread stacks.

    Exit codes: 0 stopped; 2 configuration; 3 could not start; 4 gave up after too many crashes of workers; 5 the drain
    deadline passed and unfinished steps were returned to their queue.
    """
    options = {
        "worker.count": workers,
        "worker.concurrency": concurrency,
        "http.bind": bind,
        "templates.directories": templates or None,
        "handlers.modules": handlers or None,
        "database.url": database_url,
    }
    settings = read_settings(config, options)
    if os.getpid() == 1:
        from tasker_actors.supervision.init_process import leave_init_behind  # noqa: PLC0415  only in a container

        leave_init_behind()
    # After the settings, so that a mistake in an option is told at once.
    from tasker_actors.supervision.spares import Spares  # noqa: PLC0415  workers load while this process does

    with Spares(settings.worker.count) as spares:
        from tasker_actors.supervision.run import run_supervisor  # noqa: PLC0415  it loads the whole runtime

        code = run_supervisor(
            settings,
            spares,
            handlers=settings.handlers.modules,
            template_paths=settings.templates.directories,
            embedded_home=settings.home,
        )
    raise typer.Exit(code)
