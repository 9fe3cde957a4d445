"""The command line as a whole: every command, its help, its errors, and how quickly it starts."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tasker_actors.cli.app import execute
from tasker_actors.cli.command_table import commands_table
from tasker_actors.cli.db import Kind
from tasker_actors.postgres.retention import Prunable

COMMANDS = (
    "run",
    "workers",
    "stats",
    "example",
    "task create",
    "task list",
    "task get",
    "task steps",
    "task cancel",
    "task reset",
    "task reset-step",
    "task resolve-step",
    "task complete-step",
    "task audit",
    "schedule list",
    "schedule set",
    "schedule show",
    "schedule pause",
    "schedule resume",
    "schedule delete",
    "schedule fire",
    "events list",
    "events dlq list",
    "events dlq redrive",
    "dlq list",
    "dlq show",
    "dlq send",
    "dlq resolve",
    "dlq stats",
    "dlq queue",
    "dlq staleness",
    "template validate",
    "limits list",
    "db migrate",
    "db grant",
    "db status",
    "db prune",
)
TASKER = (sys.executable, "-c", "from tasker_actors.cli.app import main; main()")
UUID = "01939f7e-aaaa-7bbb-8ccc-dddddddddddd"


def test_the_commands_are_those_of_the_specification():
    assert tuple(row.name for row in commands_table()) == COMMANDS


def test_a_row_of_the_table_is_name_usage_and_a_sentence():
    rows = {row.name: row for row in commands_table()}

    assert rows["run"].arguments == (
        "[--workers N] [--concurrency M] [--bind HOST:PORT] [--config FILE] [--templates DIR]... "
        "[--handlers MODULE]... [--database-url URL]"
    )
    assert rows["run"].help == "Start the supervisor and its workers."
    assert rows["task get"].arguments == "TASK_UUID [--url URL] [--json]"
    assert rows["template validate"].arguments.startswith("PATH... [--strict]")
    assert rows["events dlq redrive"].arguments.startswith("[EVENT_ID]... --namespace NAMESPACE [--all]")


@pytest.mark.parametrize("row", commands_table(), ids=COMMANDS)
def test_every_command_explains_itself_and_its_options(row, capsys):
    assert execute([*row.name.split(), "--help"]) == 0

    text = capsys.readouterr().out
    assert row.help.rstrip(".") in " ".join(text.split())
    options = [line for line in text.split("Options:")[1].splitlines() if line.lstrip().startswith("--")]
    assert all(word in text for word in row.arguments.replace("[", " ").replace("]", " ").split() if word[:2] == "--")
    assert options


@pytest.mark.parametrize(
    "group", [[], ["task"], ["schedule"], ["events"], ["events", "dlq"], ["dlq"], ["template"], ["db"]]
)
def test_the_help_of_a_group_has_every_command_with_a_whole_sentence(group, capsys):
    assert execute([*group, "--help"]) == 0

    lines = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


@pytest.mark.parametrize("group", [[], ["task"], ["events", "dlq"]])
def test_a_group_without_a_command_answers_with_its_help(group, capsys):
    assert execute(group) == 2

    text = capsys.readouterr().err
    assert text.startswith("Usage: tasker-actors")
    assert "Commands:" in text
    assert "Error" not in text


def test_what_prune_can_delete_is_what_the_database_module_can():
    assert [kind.value for kind in Kind] == [kind.value for kind in Prunable]


def test_no_command_that_talks_to_a_supervisor_shows_a_key_in_its_help(capsys):
    execute(["workers", "--help"])

    assert "api-key" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nope"], "No such command 'nope'"),
        (["events", "tail"], "No such command 'tail'"),
        (["task", "get"], "Missing argument 'TASK_UUID'"),
        (["task", "get", "nope"], "'nope' is no UUID"),
        (["task", "list", "--limit", "0"], "--limit"),
        (["task", "list", "--status", "nope"], "nope"),
        (["task", "list", "--correlation-id", "nope"], "'nope' is no UUID"),
        (["workers", "--nope"], "No such option: --nope"),
        (["workers", "--url", "localhost:8081"], "write http://HOST:PORT"),
        (["workers", "--url", "http://localhost:99999"], "write http://HOST:PORT"),
        (["task", "create", "day", "--context", "{}"], "NAMESPACE/NAME@VERSION"),
        (["events", "dlq", "list", "--limit", "5000"], "--limit"),
        (["db", "prune"], "Missing option '--older-than'"),
        (["db", "prune", "--older-than", "soon"], "'soon' is no length of time"),
        (["db", "prune", "--older-than", "1d", "--only", "events"], "events"),
        (["run", "--bind", "nope"], "http.bind (option): must be HOST:PORT"),
        (["run", "--workers", "0"], "worker.count (option)"),
        (["run", "--config", "missing.toml"], "missing.toml"),
        (["run", "--database-url", "nope"], "database.url (option)"),
    ],
)
def test_a_usage_error_is_2_with_its_reason(arguments, what, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert execute(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert what in err
    assert list(tmp_path.iterdir()) == []


def test_a_port_for_everybody_needs_a_key(tmp_path):
    # In a process of its own: a supervisor sets up logging for the whole process before it looks at its settings.
    done = subprocess.run(
        [*TASKER, "run", "--bind", "0.0.0.0:0"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "set TASKER_API_KEY" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_usage_error_is_json_where_json_was_asked_for(capsys):
    assert execute(["task", "get", "nope", "--json"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["error"]["code"] == "usage"
    assert "'nope' is no UUID" in json.loads(err)["error"]["message"]


def test_a_key_that_no_header_can_carry_is_named_and_not_shown(capsys, monkeypatch):
    monkeypatch.setenv("TASKER_API_KEY", "geheim\nü")

    assert execute(["workers"]) == 2

    err = capsys.readouterr().err
    assert "TASKER_API_KEY" in err
    assert "geheim" not in err


def test_the_key_of_the_environment_is_sent(supervisor, capsys, monkeypatch):
    monkeypatch.setenv("TASKER_API_KEY", "s3cret")
    supervisor.answer = lambda _: (200, {"workers": []})

    assert execute(["workers", "--url", supervisor.url]) == 0

    assert supervisor.requests[0].headers["authorization"] == "Bearer s3cret"
    assert capsys.readouterr().err == "there are no workers\n"


def test_an_error_cannot_steer_the_terminal(supervisor, capsys):
    supervisor.answer = lambda _: (404, {"error": {"code": "x", "message": "\x1b[2Jgone\nmore"}})

    assert execute(["task", "get", UUID, "--url", supervisor.url]) == 1

    assert capsys.readouterr().err == "Error: \\x1b[2Jgone\nmore\n"


def test_the_version_is_printed(capsys):
    assert execute(["--version"]) == 0

    assert capsys.readouterr().out.split()[0] == "tasker-actors"


def test_help_loads_nothing_heavy():
    heavy = [
        "psycopg",
        "httpx",
        "fastapi",
        "uvicorn",
        "structlog",
        "pykka",
        "opentelemetry",
        "prometheus_client",
        "yaml",
        "jsonschema",
        "rich",
        "tasker_actors.settings",
        "tasker_actors.supervision",
        "tasker_actors.web",
        "tasker_actors.postgres",
    ]
    code = (
        "import sys\nfrom tasker_actors.cli.app import execute\ncode = execute(['task', 'create', '--help'])\n"
        f"print(code, sorted(set(sys.modules) & set({heavy})), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stderr.strip() == "0 []"


@pytest.mark.parametrize("option", [[], ["--json"]])
@pytest.mark.parametrize("count", [1, 1_000])
def test_a_reader_who_has_had_enough_is_no_crash(supervisor, count, option):
    supervisor.answer = lambda _: (200, {"workers": [{"slot": n, "host": "x" * 100} for n in range(count)]})
    with subprocess.Popen(
        [*TASKER, "workers", "--url", supervisor.url, *option], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(30) == 1

    assert errors == b""


@pytest.mark.parametrize(("option", "path"), [("--context-file", "/v1/tasks"), ("--jsonl", "/v1/tasks/batch")])
def test_contexts_come_from_standard_input(supervisor, option, path):
    task = {"task_uuid": UUID, "correlation_id": UUID, "version": "1"}
    supervisor.answer = lambda _: (201, {**task, "tasks": [task]})

    done = subprocess.run(
        [*TASKER, "task", "create", "flights/day", option, "-", "--url", supervisor.url],
        input='{"carrier": "AA"}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    (request,) = supervisor.requests
    assert request.path == path
    assert request.json().get("tasks", [request.json()])[0]["context"] == {"carrier": "AA"}
    assert UUID in done.stdout


def test_progress_is_shown_on_a_terminal_and_not_in_the_result(supervisor, tmp_path):
    lines = tmp_path / "lines"
    lines.write_text("{}\n")
    supervisor.answer = lambda _: (201, {"tasks": [{"task_uuid": UUID, "correlation_id": UUID}]})
    terminal, slave = os.openpty()
    arguments = ["task", "create", "flights/day", "--jsonl", str(lines), "--url", supervisor.url, "--json"]

    with subprocess.Popen(
        [*TASKER, *arguments], stdout=subprocess.PIPE, stderr=slave, env=os.environ | {"TERM": "xterm"}
    ) as process:
        out, _ = process.communicate(timeout=60)
    os.close(slave)
    shown = os.read(terminal, 65_536)
    os.close(terminal)

    assert json.loads(out)["tasks"][0]["task_uuid"] == UUID
    assert b"Creating tasks" in shown
    assert b"1/1" in shown


@pytest.mark.parametrize("source", ["--context", "--jsonl"])
def test_an_interrupted_wait_is_130_and_still_tells_the_ids(supervisor, tmp_path, source):
    pending = {"task_uuid": UUID, "correlation_id": UUID, "version": "1", "status": "pending", "total_steps": 1}
    lines = tmp_path / "lines"
    lines.write_text("{}\n")

    def answer(request):
        if request.path == "/v1/tasks/batch":
            return 201, {"tasks": [{"task_uuid": UUID, "correlation_id": UUID}]}
        return (201, pending) if request.method == "POST" else (200, pending)

    supervisor.answer = answer
    value = "{}" if source == "--context" else str(lines)

    with subprocess.Popen(
        [*TASKER, "task", "create", "flights/day", source, value, "--wait", "--json", "--url", supervisor.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        while len(supervisor.requests) < 3:
            supervisor.arrived.clear()
            assert supervisor.arrived.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert UUID in json.dumps(json.loads(out))
    assert b"go on" in err.replace(b"goes", b"go")
    assert b"Traceback" not in err
