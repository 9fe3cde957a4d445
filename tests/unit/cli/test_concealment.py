"""A password in `--database-url` goes into the environment; nothing else of a command line changes."""

from __future__ import annotations

import pytest

from tasker_actors.cli.concealment import without_password

SECRET = "postgresql://u:hunter2@h/d"


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [
        (["run", "--database-url", SECRET, "--workers", "2"], ["run", "--workers", "2"]),
        (["run", "--workers", "2", f"--database-url={SECRET}"], ["run", "--workers", "2"]),
        (["db", "status", "--database-url", SECRET, "--json"], ["db", "status", "--json"]),
        (["run", "--database-url", "postgresql://u@h/d", "--database-url", SECRET], ["run"]),
    ],
)
def test_a_password_goes_into_the_variable_that_wins(arguments, rest):
    concealed = without_password(arguments, {"A": "b", "DATABASE_URL": "postgresql://other/d"})

    assert concealed == (
        rest,
        {"A": "b", "DATABASE_URL": "postgresql://other/d", "TASKER_DATABASE__URL": SECRET},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["run", "--database-url"],
        ["run", "--database-url", "postgresql://u@h/d"],
        ["run", "--database-url", SECRET, "--database-url", "postgresql://u@h/d"],
        ["workers", "--database-url", SECRET],  # a usage error, and stays one
    ],
)
def test_other_command_lines_stay_as_they_are(arguments):
    assert without_password(arguments, {}) is None
