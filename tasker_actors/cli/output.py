"""What a command writes: results to standard output, everything else to standard error.

A table is as wide as its terminal, and as wide as it needs where it goes into a file or a pipe, so that no id is cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
import typer

if TYPE_CHECKING:
    from rich.progress import Progress

_NOTHING = "-"
# Columns; a table takes what it needs of them.
_UNLIMITED = 1_000_000


def write_json(document: Any) -> None:
    """Write one JSON document and a line end to standard output: indented on a terminal, else on one line."""
    typer.echo(json_text(document, indented=sys.stdout.isatty()))


def json_text(document: Any, *, indented: bool = False) -> str:
    """Return a document as JSON; bytes of arguments and file names that are no UTF-8 are written as escapes."""
    try:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 if indented else 0).decode()
    except orjson.JSONEncodeError:
        return json.dumps(document, indent=2 if indented else None)


def write_line(text: str) -> None:
    """Write one line of a result to standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """Write a remark, progress or an error to standard error."""
    typer.echo(text, err=True)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Write rows under their headings to standard output; without rows the sentence `empty` goes to standard error."""
    from rich.console import Console  # noqa: PLC0415  rich is not needed for --help and --json, and costs 30 ms
    from rich.table import Table  # noqa: PLC0415  the same
    from rich.text import Text  # noqa: PLC0415  the same

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: what users named is not markup.
        table.add_row(*(Text(shown(cell)) for cell in row))
    if not table.row_count:
        note(empty)
        return
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console.width = _UNLIMITED
    console.print(table)


def write_fields(fields: Mapping[str, object]) -> None:
    """Write names and values to standard output, one pair a line."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        write_line(f"{name:<{width}}  {shown(value)}")


def shown(value: object) -> str:
    """Return a value as one line of printable text: control characters, which could steer a terminal, are escaped."""
    match value:
        case None | "":
            return _NOTHING
        case bool():
            return "yes" if value else "no"
        case str():
            return escaped(value)
        case list() | tuple():
            return ", ".join(shown(item) for item in value) or _NOTHING
        case dict():
            return escaped(orjson.dumps(value).decode()) if value else _NOTHING
        case _:
            return escaped(str(value))


def escaped(text: str) -> str:
    """Return text without line ends, control characters and lone surrogates, each written as its escape sequence."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def progress_bar() -> Progress:
    """Return a progress display on standard error; it shows nothing where that is no terminal."""
    from rich.console import Console  # noqa: PLC0415  only long work has progress
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  the same

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
