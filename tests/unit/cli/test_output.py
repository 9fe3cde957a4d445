"""Results on standard output, remarks on standard error."""

import pytest

from tasker_actors.cli import output

UUID = "01939f7e-aaaa-7bbb-8ccc-dddddddddddd"


def test_a_table_in_a_pipe_is_as_wide_as_it_needs(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")

    output.write_table(("task_uuid", "correlation_id", "name"), [(UUID, UUID, "x" * 300)], empty="none")

    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["task_uuid", "correlation_id", "name"]
    assert row.split() == [UUID, UUID, "x" * 300]


def test_a_table_has_no_colours_in_a_pipe(capsys):
    output.write_table(("name",), [("x",)], empty="none")

    assert "\x1b" not in capsys.readouterr().out


def test_what_users_named_is_shown_as_it_is_and_cannot_steer_the_terminal(capsys):
    output.write_table(("name",), [("[bold]x[/bold]",), ("a\x1b[2Jb",), ("two\nlines",), (":smile:",)], empty="none")

    _, *rows = capsys.readouterr().out.splitlines()
    assert [row.strip() for row in rows] == ["[bold]x[/bold]", "a\\x1b[2Jb", "two\\nlines", ":smile:"]


def test_no_rows_are_a_sentence_on_standard_error(capsys):
    output.write_table(("name",), [], empty="there are no tasks")

    assert capsys.readouterr() == ("", "there are no tasks\n")


def test_json_in_a_pipe_is_one_line(capsys):
    output.write_json({"a": [1, "é"]})

    assert capsys.readouterr().out == '{"a":[1,"é"]}\n'


def test_a_name_that_is_no_utf_8_can_be_shown_as_json(capsys):
    output.write_json({"file": "caf\udce9.yaml"})

    assert capsys.readouterr().out == '{"file": "caf\\udce9.yaml"}\n'


def test_fields_stand_below_each_other(capsys):
    output.write_fields({"id": 1, "namespace": None})

    assert capsys.readouterr().out == "id         1\nnamespace  -\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (0, "0"),
        (False, "no"),
        (True, "yes"),
        (12.5, "12.5"),
        (["a", 1], "a, 1"),
        ({"a": "\x07"}, '{"a":"\\u0007"}'),
        ("\ud800", "\\ud800"),
        ("naïve", "naïve"),
    ],
)
def test_a_value_is_one_line_of_printable_text(value, text):
    assert output.shown(value) == text


def test_progress_says_nothing_where_there_is_no_terminal(capsys):
    with output.progress_bar() as progress:
        progress.add_task("Working", total=3)

    assert capsys.readouterr() == ("", "")
