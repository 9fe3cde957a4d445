"""The command `tasker-actors`: every command is registered here, and every error ends here with its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tasker_actors.cli import (
    db,
    dead_letters,
    dlq,
    dlq_overviews,
    events,
    example,
    limits,
    output,
    run,
    schedule,
    step_control,
    supervisor_state,
    task,
    task_create,
    task_reset,
    template,
)
from tasker_actors.cli.concealment import conceal_password
from tasker_actors.cli.errors import error_document
from tasker_actors.errors import TaskerError

PROGRAM = "tasker-actors"
_INTERRUPTED = 130


def _print_version(wanted: bool) -> None:  # noqa: FBT001  typer calls it with the flag's value
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  it reads files, and nobody else needs it

        output.write_line(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Run business workflows as steps on supervised worker processes, and publish domain events.

    Start with `tasker-actors run`, or see it work with `tasker-actors example`. Commands that talk to a supervisor
    take its address from --url or TASKER_URL and its key from TASKER_API_KEY.

    Exit codes: 0 done; 1 the work failed; 2 usage or configuration, or what was given cannot be used; 3 could not
    start, or no supervisor answers; 4 gave up after too many crashes of workers; 5 the drain deadline passed; 130
    interrupted.
    """


def build_app() -> typer.Typer:
    """Return the command line with all its commands."""
    app = _group()
    app.callback()(_root)
    app.command("run")(run.run)
    tasks = _group()
    tasks.command("create")(task_create.create)
    tasks.command("list")(task.list_tasks)
    tasks.command("get")(task.get)
    tasks.command("steps")(task.steps)
    tasks.command("cancel")(task.cancel)
    tasks.command("reset")(task_reset.reset)
    tasks.command("reset-step")(step_control.reset_step)
    tasks.command("resolve-step")(step_control.resolve_step)
    tasks.command("complete-step")(step_control.complete_step)
    tasks.command("audit")(step_control.audit)
    app.add_typer(tasks, name="task", help="Create tasks, and see what became of them.")
    app.add_typer(_schedules(), name="schedule", help="Tasks that are created by the clock.")
    letters = _group()
    letters.command("list")(dead_letters.list_dead_letters)
    letters.command("redrive")(dead_letters.redrive)
    queue = _group()
    queue.command("list")(events.list_events)
    queue.add_typer(letters, name="dlq", help="Events that could not be published.")
    app.add_typer(queue, name="events", help="Durable domain events and dead letters.")
    dead = _group()
    dead.command("list")(dlq.list_entries)
    dead.command("show")(dlq.show)
    dead.command("send")(dlq.send)
    dead.command("resolve")(dlq.resolve)
    dead.command("stats")(dlq_overviews.stats)
    dead.command("queue")(dlq_overviews.queue)
    dead.command("staleness")(dlq_overviews.staleness)
    app.add_typer(dead, name="dlq", help="Tasks that failed or stand still, and what is known of why.")
    templates = _group()
    templates.command("validate")(template.validate)
    # With a callback of its own a group stays a group while it has a single command.
    templates.callback()(_templates)
    app.add_typer(templates, name="template")
    app.command("workers")(supervisor_state.workers)
    app.command("stats")(supervisor_state.stats)
    bounds = _group()
    bounds.command("list")(limits.list_limits)
    bounds.callback()(_limits)
    app.add_typer(bounds, name="limits")
    database = _group()
    database.command("migrate")(db.migrate)
    database.command("grant")(db.grant)
    database.command("status")(db.status)
    database.command("prune")(db.prune)
    app.add_typer(database, name="db", help="The database: its schema, its state, and what may be deleted.")
    app.command("example")(example.example)
    return app


def _schedules() -> typer.Typer:
    schedules = _group()
    schedules.command("list")(schedule.list_schedules)
    schedules.command("set")(schedule.set_schedule)
    schedules.command("show")(schedule.show)
    schedules.command("pause")(schedule.pause)
    schedules.command("resume")(schedule.resume)
    schedules.command("delete")(schedule.delete)
    schedules.command("fire")(schedule.fire)
    return schedules


def main() -> None:
    """Run the command that the arguments name, and end the process with its exit code."""
    conceal_password()
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; whatever went wrong is on standard error by then."""
    as_json = "--json" in arguments
    try:
        code = build_app()(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except TaskerError as error:
        _report(error_document(error), f"Error: {error}", as_json=as_json)
        return error.exit_code
    except typer.TyperException as error:
        message = error.format_message()
        _report({"error": {"code": "usage", "message": message}}, _with_usage(error, message), as_json=as_json)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def _report(document: dict[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        output.note(output.json_text(document))
    else:
        output.note("\n".join(output.escaped(line) for line in text.split("\n")))


def _with_usage(error: typer.TyperException, message: str) -> str:
    """Return the message below the usage line of its command; a command without arguments answers with its help."""
    context = getattr(error, "ctx", None)
    usage = context.get_usage() if context is not None else ""
    if context is None or message.startswith(usage):
        return message
    return f"{usage}\nTry '{context.command_path} --help' for help.\n\nError: {message}"


def _group() -> typer.Typer:
    return typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )


def _limits() -> None:
    """Limits of steps by key."""


def _templates() -> None:
    """Templates: the workflows as YAML files."""
