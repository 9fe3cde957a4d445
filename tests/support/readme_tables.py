"""README's tables, made from the code they describe: `scripts/readme-tables [FIGURES]` writes them into README.md.

FIGURES is a file with what `scripts/bench --json` printed; without it the table of figures stays as it is. A test
compares README with what would be written.
"""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import structlog
from support.api_runtime import RecordingRuntime

import tasker_actors.supervision.run  # noqa: F401 - with the commands it loads every error there is
from tasker_actors.cli import app
from tasker_actors.cli.command_table import commands_table
from tasker_actors.errors import TaskerError
from tasker_actors.events.declaration import EventCondition, applies
from tasker_actors.settings import settings_table
from tasker_actors.supervision.signals import HANDLED
from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.metrics import TABLE
from tasker_actors.web.app import create_app
from tasker_actors.web.error_codes import ERROR_CODES

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
AIMS_FILE = ROOT / "tests" / "benchmarks" / "aims.py"

FIGURES: Mapping[str, str] = {"figures": "AIMS", "peers": "PEER_AIMS"}
"""The places of figures, and the names of their rows in the file of aims."""
FIGURE_COLUMNS = ("figure", "median", "least", "most", "aim")

_EXIT_CODES = {
    0: "done; for `run`: drained and stopped",
    1: "the work failed: a task that was waited for did not complete, a request was refused",
    2: "usage or configuration: an option, a setting, a variable, a template",
    3: "could not start: database, handler import, port in use; for clients: no supervisor answers",
    4: "gave up after too many crashes, of workers or of a part of the supervisor",
    5: "the drain deadline passed; the steps that were not finished went back to their queue",
    130: "interrupted (a client command; `run` takes Ctrl-C as a drain)",
}
_SIGNALS = {
    signal.SIGTERM: "drain and stop; a second one kills the workers and stops at once",
    signal.SIGINT: "the same (Ctrl-C)",
    signal.SIGHUP: "replace the workers one by one, the successor first: same settings, handler modules imported anew",
    signal.SIGTTIN: "add a worker",
    signal.SIGTTOU: "remove the worker with the highest slot, after it has drained; one always stays",
    signal.SIGUSR1: "log the state of every process and the stacks of all its threads",
}
_TELEMETRY = {
    "TELEMETRY_ENABLED": ("false", "Export traces and metrics to a collector."),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("{0.otlp_endpoint}; 4318 for http/protobuf", "URL of the collector."),
    "OTEL_EXPORTER_OTLP_PROTOCOL": ("{0.otlp_protocol.value}", "`grpc` or `http/protobuf`."),
    "OTEL_EXPORTER_OTLP_HEADERS": ("none", "`key=value,key=value`, percent-encoded; never shown."),
    "OTEL_EXPORTER_OTLP_TIMEOUT": ("{0.otlp_timeout_s:g}", "Seconds that one request may take."),
    "OTEL_EXPORTER_OTLP_CERTIFICATE": ("the system's", "PEM file of the authorities that an https:// collector has."),
    "OTEL_SERVICE_NAME": ("{0.service_name}", "`service.name`."),
    "OTEL_SERVICE_VERSION": ("the package's", "`service.version`."),
    "OTEL_RESOURCE_ATTRIBUTES": ("none", "More attributes, `key=value,key=value`."),
    "OTEL_TRACES_SAMPLER_ARG": ("{0.sampling_ratio}", "Share of traces that are sampled, 0.0 to 1.0."),
    "OTEL_LOGS_ENABLED": ("false", "Export logs too."),
    "OTEL_SDK_DISABLED": ("false", "As OpenTelemetry defines it."),
    "OTEL_BSP_SCHEDULE_DELAY": ("{0.batch_spans.schedule_delay_ms}", "Milliseconds between two exports."),
    "OTEL_BSP_EXPORT_TIMEOUT": (
        "{0.batch_spans.export_timeout_ms}",
        "Milliseconds that one export may take, repetitions and all; then its spans are dropped.",
    ),
    "OTEL_BSP_MAX_QUEUE_SIZE": ("{0.batch_spans.max_queue_size}", "Spans that may wait; more are dropped and counted."),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ("{0.batch_spans.max_export_batch_size}", "Spans of one export."),
    "OTEL_BLRP_MAX_QUEUE_SIZE": (
        "{0.batch_log_records.max_queue_size}",
        "Log records that may wait; more are dropped and counted.",
    ),
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": ("{0.batch_log_records.max_export_batch_size}", "Log records of one export."),
    "OTEL_METRIC_EXPORT_INTERVAL": ("{0.metric_export_interval_ms}", "Milliseconds between two exports of metrics."),
    "DEPLOYMENT_ENVIRONMENT": ("`TASKER_ENV`, else {0.environment}", "`deployment.environment.name`."),
    "TASKER_ENV": ("{0.environment}", "The environment where `DEPLOYMENT_ENVIRONMENT` is not set; also a setting."),
    "LOG_LEVEL": (
        "{0.log_level.value} in development and test, else info",
        "`debug`, `info`, `warning`, `error` or `critical`.",
    ),
    "LOG_EARLY_RECORDS": (
        "{0.early_records.max_records}",
        "Log records before the second phase that are kept for the collector.",
    ),
    "LOG_EARLY_RECORD_BYTES": (
        "{0.early_records.max_record_bytes}",
        "Bytes of memory of one of them; a larger one is not kept.",
    ),
    "LOG_FORMAT": ("console on a terminal, else json", "`console` or `json`."),
}


def tables() -> dict[str, str]:
    """Return every generated table by the name of its place in README."""
    made: Mapping[str, Callable[[], str]] = {
        "conditions": _conditions,
        "commands": _commands,
        "exit codes": _exit_codes,
        "signals": _signals,
        "settings": _settings,
        "telemetry": _telemetry,
        "endpoints": _endpoints,
        "error codes": _error_codes,
        "metrics": _metrics,
    }
    return {name: make() for name, make in made.items()}


def place(name: str) -> re.Pattern[str]:
    """Match a marked place: what is between its two comments is the group."""
    mark = re.escape(name)
    return re.compile(rf"<!-- {mark} -->\n(.*?)<!-- end of {mark} -->", re.DOTALL)


def in_place(readme: str, name: str) -> str:
    """Return what README has at a marked place; it must be there once."""
    found = place(name).findall(readme)
    assert len(found) == 1, f"README has the place {name!r} {len(found)} times"
    return str(found[0]).strip("\n")


def with_tables(readme: str, made: Mapping[str, str]) -> str:
    """Return README with these tables at their places."""
    for name, table in made.items():
        in_place(readme, name)
        marked = f"<!-- {name} -->\n\n{table}\n\n<!-- end of {name} -->"
        readme = place(name).sub(marked.replace("\\", r"\\"), readme)
    return readme


def error_codes() -> set[int]:
    """Return the exit code of every error of the package."""
    return {kind.exit_code for kind in _tree(TaskerError) if kind.__module__.startswith("tasker_actors")}


@dataclass(frozen=True, slots=True)
class Aim:
    """One row of the benchmarks' table: its text and its aim as README shows it."""

    text: str
    unit: str
    aim: str


def aims(name: str) -> dict[str, Aim]:
    """Read the rows of a table of `scripts/bench` from its source: its modules are not on the path of tests."""
    for node in ast.parse(AIMS_FILE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            assert isinstance(node.value, ast.Dict)
            return {ast.literal_eval(key): _aim(value) for key, value in _entries(node.value)}
    message = f"{AIMS_FILE} has no {name}"
    raise AssertionError(message)


def figures_table(measured: Mapping[str, Any], rows_of: str) -> str:
    """Make a table of figures from what `scripts/bench --json` printed; dashes where there is nothing."""
    figures: Mapping[str, Sequence[float]] = measured["figures"]
    rows = []
    for name, aim in aims(rows_of).items():
        values = figures.get(name)
        cells = ["-"] * 3
        if values:
            cells = [_figure(value, aim.unit) for value in (statistics.median(values), min(values), max(values))]
        rows.append((aim.text, *cells, aim.aim))
    return f"{_table(FIGURE_COLUMNS, rows)}\n\n{measured['machine']}; {measured['rounds']} rounds."


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the API; nothing is started for it."""

    async def get() -> dict[str, Any]:
        transport = httpx.ASGITransport(create_app(RecordingRuntime(None)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            document: dict[str, Any] = (await client.get("/api-docs")).raise_for_status().json()
            return document

    return asyncio.run(get())


class RecordingEnviron(dict[str, str]):
    """An empty environment that remembers which variables were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        """Remember the name."""
        if key not in self.asked:
            self.asked.append(key)
        return default


def telemetry_variables() -> list[str]:
    """Return the variables that the telemetry configuration reads."""
    environ = RecordingEnviron()
    TelemetryConfig.from_environ(environ)
    return environ.asked


def _conditions() -> str:
    outcomes = ((True, False), (False, True), (False, False))
    rows = [
        (
            f"`{condition}`",
            *("yes" if applies(condition, succeeded=good, will_retry=again) else "" for good, again in outcomes),
        )
        for condition in EventCondition
    ]
    return _table(("condition", "succeeded", "failed, will be retried", "failed for good"), rows)


def _commands() -> str:
    rows = [(f"`{row.name}`", f"`{row.arguments}`", row.help) for row in commands_table()]
    return _table(("command", "arguments and options", "what it does"), rows)


def _exit_codes() -> str:
    assert set(_EXIT_CODES) == {0, app._INTERRUPTED, *error_codes()}
    return _table(("code", "meaning"), [(str(code), text) for code, text in _EXIT_CODES.items()])


def _signals() -> str:
    assert tuple(_SIGNALS) == HANDLED
    return _table(("signal", "effect"), [(number.name.removeprefix("SIG"), text) for number, text in _SIGNALS.items()])


def _settings() -> str:
    rows = [(f"`{row.key}`", f"`{row.variable}`", row.default, row.description) for row in settings_table()]
    return _table(("setting", "variable", "default", "meaning"), rows)


def _telemetry() -> str:
    assert set(_TELEMETRY) == set(telemetry_variables()), set(_TELEMETRY) ^ set(telemetry_variables())
    config = TelemetryConfig.from_environ({})
    rows = [(f"`{name}`", default.format(config), text) for name, (default, text) in _TELEMETRY.items()]
    return _table(("variable", "default", "meaning"), rows)


def _endpoints() -> str:
    rows = []
    for path, operations in openapi()["paths"].items():
        for method, operation in operations.items():
            text = operation.get("description", operation["summary"]).partition("\n")[0]
            rows.append((f"`{method.upper()} {path}`", "yes" if "security" in operation else "no", text))
    rows.append(("`GET /api-docs`", "yes", "Return the OpenAPI document."))
    return _table(("endpoint", "needs the key", "what it does"), rows)


def _error_codes() -> str:
    rows = [
        (", ".join(str(status.value) for status in each.statuses), f"`{each.code}`", each.meaning)
        for each in ERROR_CODES
    ]
    return _table(("status", "code", "what it means"), rows)


def _metrics() -> str:
    rows = [
        (f"`{metric.prometheus_name}`", metric.kind.value, ", ".join(metric.labels), metric.help)
        for metric in TABLE
        if metric.counted_in is None
    ]
    return _table(("metric", "kind", "labels", "what it counts"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tree(kind: type[TaskerError]) -> Iterator[type[TaskerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


def _entries(mapping: ast.Dict) -> Iterator[tuple[ast.expr, ast.Call]]:
    for key, value in zip(mapping.keys, mapping.values, strict=True):
        assert key is not None
        assert isinstance(value, ast.Call)
        yield key, value


def _aim(call: ast.Call) -> Aim:
    text, unit, aim = (ast.literal_eval(argument) for argument in call.args)
    is_limit = any(keyword.arg == "is_limit" and ast.literal_eval(keyword.value) for keyword in call.keywords)
    sign = "at most" if is_limit else "at least"
    return Aim(text, unit, "" if aim is None else f"{sign} {aim:,g}{unit}")


def _figure(value: float, unit: str) -> str:
    hundred = 100  # from here on a fraction says nothing
    return f"{value:,.2f}{unit}" if value < hundred else f"{value:,.0f}{unit}"


def main(arguments: Sequence[str]) -> None:
    """Write the tables into README.md, and the figures of a file if one is named."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    made = tables()
    if arguments:
        measured = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        for name, rows_of in FIGURES.items():
            if aims(rows_of).keys() & measured["figures"].keys():
                made[name] = figures_table(measured, rows_of)
    README.write_text(with_tables(README.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
