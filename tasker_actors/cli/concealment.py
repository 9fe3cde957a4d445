"""Keeps a database password that was given as an option out of what every user of the machine can list."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

_OPTION = "--database-url"
_VARIABLE = "TASKER_DATABASE__URL"
_TAKERS = ("run", "db")


def conceal_password() -> None:
    """Start this command anew with the option in the environment, if it has a password; else return.

    A command line is there for everybody to read (`ps`, /proc/PID/cmdline) for as long as the process runs, and a
    supervisor runs for long; an environment only for its own user and root. The process keeps its number. Until here
    the password was seen, for the tenth of a second that Python takes to start: DATABASE_URL never shows it.
    """
    arguments = sys.argv[1:]
    concealed = without_password(arguments, os.environ)
    if concealed is not None:
        rest, environ = concealed
        interpreter = sys.orig_argv[: len(sys.orig_argv) - len(arguments)]
        os.execve(sys.executable, [*interpreter, *rest], dict(environ))  # noqa: S606 - our own command line


def without_password(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]] | None:
    """Move the option into its variable, which wins over all others as the option does; None if nothing is secret."""
    if not arguments or arguments[0] not in _TAKERS:
        return None
    rest: list[str] = []
    url: str | None = None
    words = iter(arguments)
    for word in words:
        if word == _OPTION:
            url = next(words, None)
            if url is None:
                return None  # a usage error, which the command itself explains
        elif word.startswith(f"{_OPTION}="):
            url = word.partition("=")[2]
        else:
            rest.append(word)
    from tasker_actors.settings.database_url import redact_url  # noqa: PLC0415  pydantic would slow --help down

    if url is None or redact_url(url) == url:
        return None
    return rest, {**environ, _VARIABLE: url}
