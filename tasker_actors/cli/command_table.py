"""The commands as rows of a table, for README and the test that compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from tasker_actors.cli.app import build_app


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command: its name without the program's, its arguments and options as usage, one sentence about it."""

    name: str
    arguments: str
    help: str


def commands_table() -> list[CommandRow]:
    """Return a row for each command, but none for a group of commands; single commands come before groups."""
    root = get_command(build_app())
    return list(_rows(root, ())) if isinstance(root, TyperGroup) else []


def _rows(group: TyperGroup, path: tuple[str, ...]) -> Iterator[CommandRow]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _rows(command, (*path, name))
        else:
            parts = (_usage(parameter) for parameter in command.params)
            sentence = (command.help or "").partition("\n\n")[0].replace("\n", " ")
            yield CommandRow(" ".join((*path, name)), " ".join(filter(None, parts)), sentence)


def _usage(parameter: object) -> str:
    match parameter:
        case TyperArgument():
            name = parameter.display_name_raw
            text = name if parameter.required else f"[{name}]"
            return text if parameter.nargs == 1 else f"{text}..."
        case TyperOption(hidden=False):
            value = "" if parameter.is_flag else f" {parameter.metavar or parameter.display_name_raw.upper()}"
            text = f"{parameter.opts[0]}{value}"
            text = text if parameter.required else f"[{text}]"
            return f"{text}..." if parameter.multiple else text
        case _:
            return ""
