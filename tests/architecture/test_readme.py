"""README says what is so: its tables, names, commands and paths are compared with the code, its examples are run."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import psutil
import psycopg
import pytest
from support import readme_tables
from support.project import Project
from support.readme_tables import ROOT, in_place
from support.supervised import Supervised, supervised
from support.waiting import until

from tasker_actors.cli.command_table import commands_table
from tasker_actors.cli.options import DEFAULT_URL
from tasker_actors.postgres.embedded import running_url
from tasker_actors.postgres.role import grants
from tasker_actors.settings import Settings, settings_table
from tasker_actors.settings.layers import sections
from tasker_actors.stats.declared import HTTP_REFUSALS, REFUSAL_CODES, WORKER_DROPS
from tasker_actors.steps.failures import ErrorType
from tasker_actors.steps.plans import INPUTS_TOO_LARGE
from tasker_actors.supervision.run import _POOL_SIZE
from tasker_actors.supervision.shutdown import AT_ONCE_S, Shutdown
from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.metrics import TABLE
from tasker_actors.workflow.batches import INVALID_BATCHES
from tasker_actors.workflow.checkpoint import INVALID_CHECKPOINT
from tasker_actors.workflow.decision import INVALID_DECISION
from tasker_actors.workflow.task_requests import MAX_PRIORITY

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROSE = FENCE.sub("", README)
INLINE = re.findall(r"`([^`\n]+)`", PROSE)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PATH = re.compile(r"(?<![\w~/.])(?:tasker_actors|tests|config|scripts|\.ci)/[\w./-]*\w")
# Names of others, which our own files need not have.
FOREIGN = {"Ada", "pg_dump"}


def section(title: str) -> str:
    """Return the text below a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    assert found is not None, f"README has no section {title!r}"
    return str(found[1])


def block(text: str, language: str) -> str:
    """Return the only block of a language in a text."""
    found = [code for kind, code in FENCE.findall(text) if kind == language]
    assert len(found) == 1, f"{len(found)} blocks of {language}"
    return str(found[0])


def first_column(text: str) -> list[str]:
    """Return the first column of the only table of a text, without headings."""
    rows = [line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| ")]
    return rows[2:]


# Tables


@pytest.fixture(scope="module")
def made() -> Mapping[str, str]:
    return readme_tables.tables()


@pytest.mark.parametrize(
    "name",
    [
        "conditions",
        "commands",
        "exit codes",
        "signals",
        "settings",
        "telemetry",
        "endpoints",
        "error codes",
        "metrics",
    ],
)
def test_a_table_is_what_the_code_says(made: Mapping[str, str], name: str) -> None:
    assert in_place(README, name) == made[name], "run scripts/readme-tables"


def test_every_table_that_can_be_made_is_in_readme(made: Mapping[str, str]) -> None:
    assert readme_tables.with_tables(README, made) == README


@pytest.mark.parametrize(("name", "rows_of"), readme_tables.FIGURES.items())
def test_a_table_of_figures_has_the_rows_and_aims_of_the_benchmarks(name: str, rows_of: str) -> None:
    lines = in_place(README, name).splitlines()
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if line.startswith("| ")]

    assert rows[0] == readme_tables.FIGURE_COLUMNS
    wanted = [(aim.text, aim.aim) for aim in readme_tables.aims(rows_of).values()]
    assert [(row[0], row[4]) for row in rows[2:]] == wanted
    assert all(re.fullmatch(r"-?[\d,.]+( ?[a-zA-Zµ/%]+)?|-", cell) for row in rows[2:] for cell in row[1:4])


def test_every_dependency_has_its_reason_and_nothing_else_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = section("Dependencies")

    def names(wanted: list[str]) -> set[str]:
        return {re.split(r"[\[<>=;! ]", each)[0] for each in wanted}

    assert set(first_column(text)) == names(project["dependencies"])
    for_development, _, for_comparison = text.partition("For development:")[2].partition("For comparison,")
    assert set(re.findall(r"`([^`]+)`", for_development)) == names(project["optional-dependencies"]["dev"])
    named = set(re.findall(r"`([^`]+)`", for_comparison)) - {"scripts/bench"}
    assert named == names(project["optional-dependencies"]["peers"])


# Names


def test_every_folder_of_the_layout_is_there_and_every_folder_is_in_the_layout() -> None:
    listed = {line.split()[0] for line in block(section("Layout"), "text").splitlines() if line}
    folders = {
        str(path.relative_to(ROOT))
        for parent in (ROOT / "tasker_actors", ROOT / "tests")
        for path in parent.iterdir()
        if path.is_dir() and path.name != "__pycache__" and any(path.rglob("*.py"))
    }

    assert [path for path in sorted(listed) if not (ROOT / path).exists()] == []
    assert folders - listed == set()
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "scripts").iterdir()} <= listed


def test_every_path_that_is_named_exists() -> None:
    named = set(PATH.findall(README))
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    known = {tuple(row.name.split()): row.arguments for row in commands_table()}
    blocks = "\n".join(code for _, code in FENCE.findall(README))
    shown = re.findall(r"tasker-actors ([a-z].*)", "\n".join([*INLINE, blocks]))
    assert len(shown) > 8
    for text in shown:
        words = shlex.split(text)
        name = next((tuple(words[:n]) for n in (3, 2, 1) if tuple(words[:n]) in known), None)
        assert name is not None, f"there is no command {text!r}"
        unknown = {word for word in words if word.startswith("--")} - set(re.findall(r"--[a-z-]+", known[name]))
        assert unknown == set(), f"{text!r} has no option {unknown}"


def test_every_variable_that_is_named_is_read() -> None:
    known = {row.variable for row in settings_table()} | set(readme_tables.telemetry_variables()) | {"TASKER_URL"}
    known |= {f"TASKER_{row.key.replace('.', '__').upper()}" for row in settings_table()}
    named = set(re.findall(r"\b(?:TASKER|OTEL|TELEMETRY|LOG|DATABASE|DEPLOYMENT)_[A-Z_]*[A-Z]\b", README))
    assert named - known == set()


def test_every_setting_that_is_named_exists() -> None:
    keys = {row.key for row in settings_table()}
    named = {code for code in INLINE if re.fullmatch(rf"(?:{'|'.join(sections())})\.\w+", code)}
    assert len(named) > 10
    assert named - keys == set()


def test_every_metric_that_is_named_exists() -> None:
    known = {metric.prometheus_name for metric in TABLE if metric.counted_in is None}
    ends = "total|milliseconds|seconds|depth"
    named = set(re.findall(rf"\b(?:tasker|router|in_process_bus)_[a-z_]+_(?:{ends})(?=\b|_bucket)", README))
    assert len(named) > 20
    assert named - known == set()


def test_every_address_that_is_named_is_answered() -> None:
    paths = {*readme_tables.openapi()["paths"], "/api-docs"}
    named = re.findall(r"http://127\.0\.0\.1:\d+(/[\w/-]+)", README)
    named += [code for code in INLINE if re.fullmatch(r"/(?:v1|metrics|health)[\w/]*", code)]
    later = re.findall(r"`(/[\w/]+)`", section("Not there yet"))
    assert len(named) > 5
    assert set(named) - set(later) - paths == set()
    assert set(later) & paths == set(), "it is there now"
    assert all(url == DEFAULT_URL for url in re.findall(r"http://127\.0\.0\.1:\d+", README))


def test_every_name_in_code_style_is_a_name_of_this_repository(made: Mapping[str, str]) -> None:
    places = ("tasker_actors", "config", "scripts", "tests/benchmarks", "tests/support")
    kinds = {".c", ".h", ".py", ".sql", ".toml", ".yaml", ".yml", ""}
    files = [path for place in places for path in (ROOT / place).rglob("*") if path.is_file() and path.suffix in kinds]
    corpus = "\n".join(path.read_text(encoding="utf-8") for path in [*files, ROOT / "pyproject.toml"])
    # What the tables were made from is there, and what the first steps write is explained beside them.
    corpus += "".join(made.values()) + in_place(README, "first terminal")
    corpus += " ".join(path.stem for path in (ROOT / "tests").rglob("test_*.py"))
    text = readme_tables.with_tables(PROSE, dict.fromkeys(made, ""))
    named = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}
    names = {word for word in named if "_" in word or not word.islower()} - FOREIGN
    assert len(names) > 60
    assert [word for word in sorted(names) if word not in corpus] == []


def test_log_lines_to_look_for_are_written() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tasker_actors").rglob("*.py"))
    text = FENCE.sub("", section("Troubleshooting"))
    sentences = {line for line in re.findall(r"`([^`\n]+)`", text) if re.fullmatch(r"[A-Za-z-]+ [a-z].*", line)}
    sentences = {line for line in sentences if not line.startswith("tasker-actors ")}
    assert len(sentences) > 12
    assert [line for line in sorted(sentences) if f'"{line}"' not in code] == []


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    http = TelemetryConfig.from_environ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    for said in (
        f"`priority` is 0 to {MAX_PRIORITY},",
        f"a supervisor up to {_POOL_SIZE + 1}.",
        f"{Settings().telemetry.max_counter_bytes // 1024**2} MiB a slot",
        f"`http/protobuf` has port {http.otlp_endpoint.rpartition(':')[2]},",
        f"(error type `{ErrorType.TIMEOUT}`)",
        f"everything is over within {AT_ONCE_S:g} s.",
    ):
        assert said in " ".join(README.split()), said


def test_what_is_said_to_be_missing_is_missing() -> None:
    assert "events tail" not in {row.name for row in commands_table()}


def test_the_unit_gives_a_drain_its_time() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep upper case
    unit.read_string(block(section("Deployment"), "ini"))
    exit_by = Shutdown.within(0.0, Settings().supervisor.drain_timeout_ms / 1000).exit_by
    assert float(unit["Service"]["TimeoutStopSec"]) > exit_by
    assert unit["Service"]["KillMode"] == "mixed"


# Examples

Terminal: TypeAlias = "subprocess.Popen[bytes]"


@contextmanager
def terminal(script: str, home: Path, output: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a block as a user would, from the repository's root; at the end Ctrl-C, to all processes of the terminal."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-e", "-c", script], cwd=ROOT, env={**environment, "HOME": str(home)}, stdin=subprocess.DEVNULL,
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            raise


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def environment() -> Mapping[str, str]:
    address = free_address()
    programs = sysconfig.get_path("scripts")
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "TASKER_HTTP__BIND": address,
        "TASKER_URL": f"http://{address}",
        "TASKER_SUPERVISOR__STARTUP_TIMEOUT_MS": "60000",
    }


def run_python(code: str, environment: Mapping[str, str]) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_the_first_steps_work_word_by_word(tmp_path: Path, environment: Mapping[str, str]) -> None:
    first, second = (block(in_place(README, f"{number} terminal"), "sh") for number in ("first", "second"))
    log, answers = tmp_path / "first", tmp_path / "second"
    hello = tmp_path / "hello"

    with terminal(first, tmp_path, log, environment) as supervisor:
        until(lambda: "Supervisor ready" in log.read_text() or supervisor.poll() is not None, 90)
        assert supervisor.poll() is None, log.read_text()

        with terminal(second, tmp_path, answers, environment) as client:
            assert client.wait(60) == 0, answers.read_text()

        said = answers.read_text()
        printed = block(in_place(README, "second terminal prints"), "text")
        assert UUID.sub("-", said).startswith(UUID.sub("-", printed))
        assert "hello.greeted" in said.removeprefix(printed)
        line = next(code for code in INLINE if code.startswith("subscriber: "))
        until(lambda: line in log.read_text().splitlines())

        url = running_url(hello / ".tasker")
        assert url is not None
        query = block(section("How to look at it"), "sql")
        correlation_id = re.search(rf"correlation_id\s+({UUID.pattern})", said)
        assert correlation_id is not None
        with psycopg.connect(url) as connection:
            rows = connection.execute(UUID.sub(correlation_id[1], query).encode()).fetchall()
        assert [row[:2] for row in rows] == [("hello.greeted", "greet")]

        consumer = block(in_place(README, "consumer"), "python")
        consumed = run_python(consumer, {**environment, "DATABASE_URL": url})
        assert consumed.startswith("hello.greeted {'greeting': 'Hello, Ada!'} 00-")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM pgmq.q_hello_domain_events").fetchone() == (0,)

    assert supervisor.returncode == 0, log.read_text()
    assert running_url(hello / ".tasker") is None


def test_events_are_read_elsewhere_word_by_word(
    tmp_path: Path, environment: Mapping[str, str], database_url: str
) -> None:
    project = Project(tmp_path / "project")
    code = "from tasker_actors import step_handler\n@step_handler('go')\ndef go():\n    return {'n': 1}\n"
    project.module("hello_handlers", code)
    project.template("greeting", {"a": {"handler": "go", "publishes_events": [{"name": "a.done"}]}}, namespace="hello")
    with supervised(project, database_url) as one:
        task = one.run("greeting", namespace="hello")
        (row,) = one.messages("hello", task["task_uuid"])
        headers = one.rows("SELECT headers FROM pgmq.q_hello_domain_events")[0]["headers"]
        assert set(headers) <= set(re.findall(r"`(\w+)`", section("Reading events elsewhere")))

        consumer = block(in_place(README, "event consumer"), "python")
        printed = run_python(consumer, {**environment, "DATABASE_URL": database_url})

        assert printed == f"a.done {row['message']['payload']} 1 {headers['traceparent']}\n"
        archive = one.rows("SELECT msg_id FROM pgmq.a_hello_domain_events")
        assert [found["msg_id"] for found in archive] == [row["msg_id"]]
        assert one.stop() == 0, one.last_words()


def test_applications_create_tasks_word_by_word(
    tmp_path: Path, environment: Mapping[str, str], database_url: str
) -> None:
    project = Project(tmp_path / "project")
    code = "from tasker_actors import inputs, step_handler\n@step_handler('greet')\n@inputs('name')\n"
    project.module("hello_handlers", f"{code}def greet(name):\n    return {{'greeting': name}}\n")
    project.template("greeting", {"greet": {"handler": "greet"}}, namespace="hello")
    with supervised(project, database_url) as one:
        variables = {**environment, "TASKER_URL": one.url, "DATABASE_URL": database_url}

        over_http = run_python(block(in_place(README, "application over http"), "python"), variables)
        in_transaction = run_python(block(in_place(README, "application in a transaction"), "python"), variables)

        assert over_http == "complete [{'greeting': 'Ada'}]\n"
        one.wait(in_transaction.strip(), "complete")
        assert one.rows("SELECT name FROM guests") == [{"name": "Grace"}]
        (event,) = one.get("/v1/events", namespace="hello")["events"]
        assert (event["event_name"], event["payload"]) == ("guest.arrived", {"name": "Grace"})
        assert one.stop() == 0, one.last_words()


def test_handlers_are_tested_word_by_word(tmp_path: Path, environment: Mapping[str, str]) -> None:
    handlers = re.search(r"cat > hello.py <<'END'\n(.*?)^END$", README, re.DOTALL | re.MULTILINE)
    template = re.search(r"cat > templates/greeting.yaml <<'END'\n(.*?)^END$", README, re.DOTALL | re.MULTILINE)
    assert handlers is not None
    assert template is not None
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "greeting.yaml").write_text(template[1])
    (tmp_path / "hello.py").write_text(handlers[1])
    (tmp_path / "conftest.py").write_text(block(in_place(README, "test fixtures"), "python"))
    (tmp_path / "test_hello.py").write_text(block(in_place(README, "test"), "python"))

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path, check=False,
        capture_output=True, text=True, timeout=100, env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip

    assert "4 passed" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    code = "from tasker_actors import step_handler\n@step_handler('go')\ndef go():\n    return {}\n"
    project.module("readme_handlers", code)
    project.template("one", {"a": {"handler": "go", "publishes_events": [{"name": "a.done"}]}}, namespace="readme")
    return project


def works(one: Supervised) -> None:
    """See one task through, with its event."""
    task = one.run("one", namespace="readme")
    assert [row["message"]["event_name"] for row in one.messages("readme", task["task_uuid"])] == ["a.done"]
    assert one.stop() == 0, one.last_words()


def bounds() -> list[tuple[str, str, str]]:
    """Setting, default and consequence of each row of the table of bounds."""
    lines = in_place(README, "bounds").strip().splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [(row[1].strip("`"), row[2], row[3]) for row in rows]


def test_every_setting_that_bounds_something_is_in_the_table_of_bounds_with_its_default() -> None:
    known = {row.key: row.default for row in settings_table()}
    telemetry = TelemetryConfig.from_environ({})
    known["OTEL_BSP_MAX_QUEUE_SIZE"] = str(telemetry.batch_spans.max_queue_size)
    known["OTEL_BLRP_MAX_QUEUE_SIZE"] = str(telemetry.batch_log_records.max_queue_size)
    known["LOG_EARLY_RECORDS"] = str(telemetry.early_records.max_records)
    known["LOG_EARLY_RECORD_BYTES"] = str(telemetry.early_records.max_record_bytes)
    # What has no setting says why not.
    named = {setting: default for setting, default, _ in bounds() if not re.match(r"fixed: \w+ \w+", setting)}
    assert {setting: known.get(setting) for setting in named} == named
    limits = r"max_\w+|\w*(buffer|mailbox)_(size|bytes)|(header|body|answer|send)_timeout_ms|prefetch"
    bounding = re.compile(rf"\.({limits})$")
    assert {key for key in known if bounding.search(key)} <= set(named)


def test_the_table_of_bounds_names_reasons_buffers_and_metrics_that_exist() -> None:
    said = " ".join(consequence for _, _, consequence in bounds())
    assert set(re.findall(r"`(tasker_\w+)`", said)) <= {metric.prometheus_name for metric in TABLE}
    assert set(re.findall(r"buffer `(\w+)`", said)) == {buffer for buffer, _ in WORKER_DROPS}
    names = set(re.findall(r"`([a-z_]+)`", re.sub(r"buffer `\w+`|`tasker_\w+`", "", said)))
    ends = {INPUTS_TOO_LARGE, INVALID_DECISION, INVALID_BATCHES, INVALID_CHECKPOINT}
    own = {"_overflow", "invalid_result", "ask", "tell"} | ends
    assert names - own <= {*HTTP_REFUSALS, *REFUSAL_CODES}
    assert set(HTTP_REFUSALS) - names == {"unauthorized", "forbidden_host", "bad_request"}


def test_the_rights_of_a_restricted_role_are_those_that_the_command_gives() -> None:
    written = block(in_place(README, "role"), "sql").strip().splitlines()
    assert written == [f"{statement};" for statement in grants("tasker_runtime")]


def test_a_supervisor_works_behind_a_pooler_in_transaction_mode(project: Project, pgbouncer_url: str) -> None:
    with supervised(project, pgbouncer_url) as one:
        works(one)


def test_the_proofs_of_the_guarantees_are_there() -> None:
    named = re.findall(r"`([^`]+)`", in_place(README, "proofs"))

    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).is_file()] == []
