"""Writes every log line of the process to stderr in one format, structlog's and the standard library's (SPEC 4.4).

What a process logs through lives on its root logger as one `RootHandler`; nothing else is global.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, WrappedLogger

from tasker_actors.telemetry.config import LogFormat, TelemetryConfig
from tasker_actors.telemetry.early_records import EarlyRecords
from tasker_actors.telemetry.log_lines import HEAD, Fields, console_line, json_line, ordered
from tasker_actors.telemetry.trace_context import CURRENT

# Libraries whose lowest levels would drown ours; a user's own loggers follow LOG_LEVEL.
_LEAST_LEVELS: Final = {
    "asyncio": logging.INFO,
    "httpcore": logging.INFO,
    "httpx": logging.WARNING,
    "psycopg": logging.ERROR,  # it warns of what follows from an error that it raises
    "uvicorn": logging.WARNING,
    "psycopg.pool": logging.ERROR,  # a warning each attempt to connect; `postgres.availability` tells of an outage
    "pykka": logging.INFO,
}
_RECORD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_RESERVED: Final = frozenset(HEAD) - {"event"}


@dataclass(slots=True)
class LogOutput:
    """Where lines go and what they look like. Loggers keep a reference, so a later change reaches them too."""

    config: TelemetryConfig
    worker: int | None
    stream: TextIO
    pid: int
    phase: int = 1
    lost_lines: int = 0
    untold_lines: int = 0
    """How many of `lost_lines` no line has told of yet."""
    early: EarlyRecords | None = field(init=False, repr=False)
    exported_to: Callable[[Mapping[str, Any]], None] | None = None
    span_ids: Callable[[], tuple[str, str] | None] | None = None
    """Set by phase 2: trace id and span id of the OpenTelemetry span that is open here."""

    def __post_init__(self) -> None:
        self.early = EarlyRecords(self.config.early_records)

    def write(self, line: bytes) -> None:
        """Write one line with one call, so that the lines of threads and processes do not mix.

        A stream that is closed or full loses the line: logging never fails a step. The next line that gets through is
        followed by one that says how many were lost.
        """
        if self._put(line):
            self.tell_lost_lines()

    def tell_lost_lines(self) -> None:
        """Say how many lines were lost since this was last said, if any were: to the console, and where lines go."""
        lost, self.untold_lines = self.untold_lines, 0
        if lost:
            fields = {"event": "Log lines could not be written, because standard error was closed or full"}
            if not self._put(self.line("tasker_actors.telemetry", "warning", fields | {"lost_lines": lost})):
                self.untold_lines += lost

    def _put(self, line: bytes) -> bool:
        try:
            buffer = getattr(self.stream, "buffer", None)
            if buffer is None:
                self.stream.write(line.decode())
            else:
                buffer.write(line)
            self.stream.flush()
        except (OSError, ValueError):
            self.lost_lines += 1
            self.untold_lines += 1
            return False
        return True

    def line(self, logger: str, level: str, fields: Fields) -> bytes:
        """The line of one record. `fields` has `event`; a field with a name of the head gets `_` behind it."""
        for name in _RESERVED & fields.keys():
            fields[f"{name}_"] = fields.pop(name)
        for name, value in self._ids().items():
            fields.setdefault(name, value)
        if (error := _exception(fields.pop("exc_info", None))) is not None:
            fields.setdefault("error", error)
            fields["traceback"] = "".join(traceback.format_exception(error))
        fields |= {
            "timestamp": datetime.now(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z",
            "level": level,
            "logger": logger,
            "thread": threading.current_thread().name,
            "worker": self.worker,
            "pid": os.getpid(),
        }
        shown = ordered(fields)
        early, export = self.early, self.exported_to  # once each: other threads begin and end phase 2 meanwhile
        if export is not None:
            export(shown)
        elif early is not None:
            early.keep(shown)
        terminal = not self.stream.closed and self.stream.isatty()
        if self.config.log_format is LogFormat.CONSOLE or (self.config.log_format is None and terminal):
            return console_line(shown, coloured=terminal)
        return json_line(shown)

    def export_to(self, export: Callable[[Mapping[str, Any]], None] | None) -> int:
        """Give the fields of every line to `export` too, those of phase 1 first; with None, to nobody any more.

        Returns how many lines of phase 1 `export` should have got and did not: they were not kept.
        """
        early = self.early
        self.exported_to = export  # before `early` goes: a line of another thread finds one of them
        self.early = None
        if export is None or early is None:
            return 0
        for line in early:
            export(line)
        return early.dropped

    def back_to_phase_1(self) -> None:
        """Keep lines for a phase 2 that is still to come, and know nothing of OpenTelemetry."""
        self.phase = 1
        self.early = EarlyRecords(self.config.early_records)
        self.exported_to = None
        self.span_ids = None

    def _ids(self) -> dict[str, str]:
        """Correlation id of what this thread or task works on, and the ids of its innermost span."""
        current = CURRENT.get()
        ids = {}
        if current is not None and current.correlation_id is not None:
            ids["correlation_id"] = current.correlation_id
        span_ids = self.span_ids
        if span_ids is not None and (of_user := span_ids()) is not None:
            ids["trace_id"], ids["span_id"] = of_user
        elif current is not None and current.trace is not None:
            ids |= {"trace_id": current.trace.trace_id, "span_id": current.trace.span_id}
        return ids


def _exception(info: Any) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        return cast("BaseException | None", info[1])
    return sys.exc_info()[1] if info else None


class RootHandler(logging.Handler):
    """Brings the standard library's records (uvicorn, psycopg, pykka, users) to the same output."""

    def __init__(self, output: LogOutput) -> None:
        super().__init__()
        self.output = output

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record, or what the filters make of it, if they let it pass.

        Without the handler's lock: a line is one write anyway, and up to Python 3.12 a step's time limit that passes
        while its thread waits for that lock would leave it taken for ever (HAZARDS 35).
        """
        passed: Any = self.filter(record)  # from Python 3.12 on also another record
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record with its `extra` fields and the ids of its context."""
        fields = structlog.contextvars.get_contextvars()
        fields |= {name: value for name, value in vars(record).items() if name not in _RECORD_FIELDS}
        try:
            fields["event"] = record.getMessage()
        except Exception as error:  # noqa: BLE001  # a user's arguments may raise anything when they are formatted
            fields["event"] = f"{record.msg} (its arguments do not fit: {error})"
        fields["exc_info"] = record.exc_info
        self.output.write(self.output.line(record.name, record.levelname.lower(), fields))


class _NamedLogger:
    """What structlog hands rendered lines to."""

    __slots__ = ("_output", "name")

    def __init__(self, name: str, output: LogOutput) -> None:
        self.name = name
        self._output = output

    def msg(self, line: bytes) -> None:
        """Write the line; its level is in it."""
        self._output.write(line)

    debug = info = warning = error = critical = msg


def init_console_only(
    config: TelemetryConfig | None = None, worker: int | None = None, *, stream: TextIO | None = None
) -> None:
    """Phase 1: log to stderr from now on. Starts no thread, opens no socket, sets no OpenTelemetry global.

    `worker` is the slot, None in the supervisor. A second call with the same values does nothing; one with others (and
    one in the child of a fork) changes the output, also of loggers that exist, except for their level.
    Raises ConfigurationError if no configuration is given and the environment's is faulty.
    """
    output = LogOutput(config or TelemetryConfig.from_environ(), worker, stream or sys.stderr, os.getpid())
    current = log_output()
    if current is not None:
        if (current.config, current.worker, current.stream, current.pid) == (
            output.config,
            output.worker,
            output.stream,
            output.pid,
        ):
            return
        current.config, current.worker, current.stream, current.pid = output.config, worker, output.stream, output.pid
        current.back_to_phase_1()
        output = current
    else:
        logging.getLogger().addHandler(RootHandler(output))
    _configure(output)
    get_logger("tasker_actors.telemetry").info(
        "Console-only logging initialized (FFI-safe mode)",
        environment=output.config.environment,
        opentelemetry_enabled=False,
        context="ffi_initialization",
    )


def log_output() -> LogOutput | None:
    """The output of this process, None before phase 1."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RootHandler):
            return handler.output
    return None


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger for lines with fields: `get_logger(__name__).info("Step started", step_uuid=…)`.

    May be called at import: it takes its configuration when it is first used.
    """
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def _configure(output: LogOutput) -> None:
    level = getattr(logging, output.config.log_level.upper())

    def write(logger: WrappedLogger, level_name: str, fields: Any) -> bytes:
        return output.line(logger.name, level_name, fields)

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, write],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name="", *_: _NamedLogger(name, output),
        cache_logger_on_first_use=True,
    )
    logging.getLogger().setLevel(level)
    for name, least in _LEAST_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, least))
    logging.captureWarnings(capture=True)


class LineSampler:
    """Says which lines of many equal ones to write: evenly spread, the same ones in every run; from any thread."""

    def __init__(self, rate: float) -> None:
        if not 0.0 <= rate <= 1.0:
            message = f"a sampling rate is from 0.0 to 1.0, not {rate}"
            raise ValueError(message)
        self._rate = rate
        self._count = count(1)

    def __call__(self) -> bool:
        """True for the share `rate` of all calls."""
        if self._rate == 1.0:
            return True
        number = next(self._count)
        return int(number * self._rate) > int((number - 1) * self._rate)
