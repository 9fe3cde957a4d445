"""Every line of the process in one format (SPEC 4.1 phase 1, 4.4)."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime
from itertools import count

import pytest
import structlog

from tasker_actors.telemetry.logging import (
    LineSampler,
    LogOutput,
    RootHandler,
    get_logger,
    init_console_only,
    log_output,
)
from tasker_actors.telemetry.lost_lines import LostLines
from tasker_actors.telemetry.trace_context import TraceContext, correlated

MAX_EARLY = 50


@pytest.fixture
def log(config, stream):
    """A logger of slot 3, after phase 1."""
    init_console_only(config(), 3, stream=stream)
    stream.buffer.truncate(0)
    stream.buffer.seek(0)
    return get_logger("tasker_actors.test")


def test_phase_1_says_so(config, stream):
    init_console_only(config(), 3, stream=stream)
    [line] = stream.lines
    assert list(line) == [
        "timestamp",
        "level",
        "logger",
        "thread",
        "worker",
        "pid",
        "event",
        "environment",
        "opentelemetry_enabled",
        "context",
    ]
    assert (line["level"], line["worker"], line["pid"]) == ("info", 3, os.getpid())
    assert line["event"] == "Console-only logging initialized (FFI-safe mode)"
    assert (line["environment"], line["opentelemetry_enabled"]) == ("test", False)
    assert line["context"] == "ffi_initialization"


def test_a_line_has_its_moment_in_utc(log, stream):
    before = datetime.now(UTC)
    log.info("now")
    [line] = stream.lines
    assert line["timestamp"].endswith("Z")
    assert len(line["timestamp"]) == len("2025-12-01T10:30:00.000000Z")
    assert before <= datetime.fromisoformat(line["timestamp"]) <= datetime.now(UTC)


def test_a_line_names_its_logger_level_and_thread(log, stream):
    thread = threading.Thread(target=lambda: log.warning("from a thread", duration_ms=1.5), name="executor-0")
    thread.start()
    thread.join()
    [line] = stream.lines
    assert (line["logger"], line["level"], line["thread"]) == ("tasker_actors.test", "warning", "executor-0")
    assert line["duration_ms"] == 1.5


def test_phase_1_twice_is_phase_1_once(config, stream):
    for _ in range(3):
        init_console_only(config(), 3, stream=stream)
    get_logger("x").info("once")
    assert [line["event"] for line in stream.lines][1:] == ["once"]
    assert len([handler for handler in logging.getLogger().handlers if isinstance(handler, RootHandler)]) == 1


def test_another_setup_reaches_loggers_that_exist(config, stream, terminal):
    init_console_only(config(), None, stream=stream)
    log, standard = get_logger("x"), logging.getLogger("y")
    log.info("first")
    init_console_only(config(), 1, stream=terminal)
    between = get_logger("z")
    between.info("between")
    init_console_only(config(), 2, stream=terminal)
    log.info("second")
    standard.warning("third")
    assert [line["event"] for line in stream.lines][1:] == ["first"]
    assert "second" in terminal.text
    assert "third" in terminal.text
    between.info("fourth")
    assert terminal.text.count("worker=2") == 4
    assert terminal.text.count("worker=1") == 2


ISOLATED = """
import os, sys, threading
import opentelemetry.trace, opentelemetry.metrics
from tasker_actors.telemetry.logging import init_console_only
before = threading.enumerate(), os.listdir("/proc/self/fd")
init_console_only()
assert (threading.enumerate(), os.listdir("/proc/self/fd")) == before
assert opentelemetry.trace._TRACER_PROVIDER is None
assert opentelemetry.metrics._internal._METER_PROVIDER is None
"""


def test_phase_1_starts_no_thread_opens_nothing_and_sets_no_global():
    done = subprocess.run([sys.executable, "-c", ISOLATED], check=True, capture_output=True, timeout=30)
    assert done.stdout == b""
    assert json.loads(done.stderr)["context"] == "ffi_initialization"


FORKED = """
import os
from tasker_actors.telemetry.logging import get_logger, init_console_only
init_console_only(worker=1)
get_logger("x").info("parent")
if (child := os.fork()) == 0:
    init_console_only()
    get_logger("x").info("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_the_child_of_a_fork_falls_back_to_phase_1():
    done = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True, timeout=30)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"].partition(" ")[0] for line in lines] == ["Console-only", "parent", "Console-only", "child"]
    assert lines[2]["pid"] == lines[3]["pid"] != lines[1]["pid"]
    assert (lines[1]["worker"], lines[3]["worker"]) == (1, None)


def test_the_standard_librarys_records_look_the_same(log, stream):
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Failed %d", 7, extra={"step_name": "s", "color_message": "x"})
    [line] = stream.lines
    assert (line["logger"], line["level"], line["event"], line["worker"]) == ("uvicorn.error", "error", "Failed 7", 3)
    assert line["step_name"] == "s"
    assert line["error"] == "ValueError: bad"
    assert "color_message" not in line


def test_a_record_whose_arguments_do_not_fit_is_written_all_the_same(log, stream):
    [handler] = [handler for handler in logging.getLogger().handlers if isinstance(handler, RootHandler)]
    handler.handle(logging.LogRecord("x", logging.WARNING, "file", 1, "%d items", ("many",), None))
    [line] = stream.lines
    assert line["event"].startswith("%d items (its arguments do not fit")


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_line(log, stream):
    warnings.warn("old", UserWarning, stacklevel=1)
    [line] = stream.lines
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "UserWarning: old" in line["event"]


def test_an_exception_is_told_with_its_traceback(log, stream):
    try:
        raise LookupError("no such gate: a://u:secret@h")
    except LookupError as error:
        log.exception("Handler failed")
        log.error("Handler failed", exc_info=error, error="gate")
    log.error("Nothing is wrong", exc_info=True)
    first, second, third = stream.lines
    assert first["error"] == "LookupError: no such gate: a://u:***@h"
    assert first["traceback"].startswith("Traceback (most recent call last):")
    assert "secret" not in stream.text
    assert second["error"] == "gate"
    assert second["traceback"] == first["traceback"]
    assert "traceback" not in third


def test_ids_of_the_context_are_on_every_line(log, stream):
    trace = TraceContext("a" * 32, "b" * 16, 1)
    with correlated(trace, "c-1"), structlog.contextvars.bound_contextvars(task_uuid="t"):
        log.info("ours")
        logging.getLogger("theirs").info("theirs")
        log.info("own id", correlation_id="c-2")
    log.info("after")
    ours, theirs, own, after = stream.lines
    for line in (ours, theirs):
        assert (line["correlation_id"], line["task_uuid"]) == ("c-1", "t")
        assert (line["trace_id"], line["span_id"]) == ("a" * 32, "b" * 16)
    assert own["correlation_id"] == "c-2"
    assert not {"correlation_id", "trace_id", "task_uuid"} & after.keys()


def test_a_field_of_the_head_cannot_be_forged(log, stream):
    log.info("real", pid=1, level="debug", worker=9, thread="t")
    [line] = stream.lines
    assert (line["pid"], line["level"], line["worker"]) == (os.getpid(), "info", 3)
    assert (line["pid_"], line["level_"], line["worker_"], line["thread_"]) == (1, "debug", 9, "t")


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e"), ("critical", "")],
)
def test_lines_below_the_level_are_not_written(config, stream, level, written):
    init_console_only(config(LOG_LEVEL=level), stream=stream)
    for log in (get_logger("ours"), logging.getLogger("theirs")):
        log.debug("d")
        log.info("i")
        log.warning("w")
        log.error("e")
    events = [line["event"] for line in stream.lines if line["logger"] in ("ours", "theirs")]
    assert "".join(events) == written * 2


def test_chatty_libraries_do_not_drown_our_debug_lines(log, stream):
    logging.getLogger("asyncio").debug("Using selector")
    logging.getLogger("pykka").debug("Started")
    logging.getLogger("httpx").info("HTTP Request")
    logging.getLogger("flights.handlers").debug("a user's own line")
    assert [line["event"] for line in stream.lines] == ["a user's own line"]


@pytest.mark.parametrize(
    ("log_format", "on_terminal", "is_json", "coloured"),
    [
        ({}, False, True, False),
        ({}, True, False, True),
        ({"LOG_FORMAT": "json"}, True, True, False),
        ({"LOG_FORMAT": "console"}, False, False, False),
    ],
)
def test_the_format_follows_the_variable_and_else_the_terminal(
    config, stream, terminal, log_format, on_terminal, is_json, coloured
):
    target = terminal if on_terminal else stream
    init_console_only(config(**log_format), stream=target)
    assert target.text.startswith("{") == is_json
    assert ("\x1b[" in target.text) == coloured


def test_a_closed_stream_loses_lines_and_fails_nobody(config, stream, log):
    stream.close()
    log.info("lost")
    logging.getLogger("x").info("lost")
    assert log_output().lost_lines == 2


class Full(io.BytesIO):
    """A file whose disk is full for the first `failures` writes."""

    failures = 0

    def write(self, line):
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        return super().write(line)


class FullStream(io.TextIOWrapper):
    """Such a file as a stream."""

    def __init__(self):
        super().__init__(Full(), encoding="utf-8")

    @property
    def lines(self):
        return [json.loads(line) for line in self.buffer.getvalue().splitlines()]


def test_lines_that_were_lost_are_told_of_once_when_the_stream_takes_lines_again(config):
    stream = FullStream()
    init_console_only(config(), 3, stream=stream)
    stream.buffer.failures = 2
    log = get_logger("x")
    for event in ("lost", "lost", "first again", "second"):
        log.info(event)

    told = "Log lines could not be written, because standard error was closed or full"
    assert [line["event"] for line in stream.lines][1:] == ["first again", told, "second"]
    [warning] = [line for line in stream.lines if line["event"] == told]
    assert (warning["level"], warning["logger"], warning["lost_lines"]) == ("warning", "tasker_actors.telemetry", 2)


def test_whoever_counts_lost_lines_hears_of_each_once(config):
    lost_lines = LostLines()
    assert lost_lines.take() == 0  # before phase 1
    stream = FullStream()
    init_console_only(config(), stream=stream)
    stream.buffer.failures = 3
    for _ in range(3):
        get_logger("x").info("lost")
    assert [lost_lines.take(), lost_lines.take()] == [3, 0]
    stream.close()
    get_logger("x").info("lost")
    assert lost_lines.take() == 1


def test_a_told_loss_that_is_lost_itself_is_told_again(config):
    stream = FullStream()
    init_console_only(config(), stream=stream)
    exported = []
    log_output().export_to(exported.append)
    stream.buffer.failures = 2
    get_logger("x").info("lost")
    log_output().tell_lost_lines()
    assert [line["lost_lines"] for line in exported if "lost_lines" in line] == [1]
    assert len(stream.lines) == 1

    get_logger("x").info("again")

    assert stream.lines[-1]["lost_lines"] == log_output().lost_lines == 2


def test_lines_of_phase_1_are_kept_for_the_export_and_those_that_were_not_are_counted(config, stream):
    init_console_only(config(LOG_EARLY_RECORDS=str(MAX_EARLY)), stream=stream)
    for number in range(MAX_EARLY + 4):
        get_logger("x").info("early", number=number)
    exported = []

    assert log_output().export_to(exported.append) == 5

    assert [line["number"] for line in exported] == list(range(4, MAX_EARLY + 4))
    assert log_output().export_to(exported.append) == 0


def test_a_line_of_phase_1_that_is_too_large_is_not_kept_and_is_counted(config, stream):
    init_console_only(config(LOG_EARLY_RECORD_BYTES="2000"), stream=stream)
    get_logger("x").info("small")
    get_logger("x").info("large", text="x" * 2000)
    exported = []

    assert log_output().export_to(exported.append) == 1
    assert [line["event"] for line in exported][1:] == ["small"]


def test_lines_that_nobody_exports_are_not_lost(config, stream):
    init_console_only(config(LOG_EARLY_RECORDS=str(MAX_EARLY)), stream=stream)
    for _ in range(MAX_EARLY + 4):
        get_logger("x").info("early")
    assert log_output().export_to(None) == 0


def test_a_stream_without_bytes_gets_text(config):
    stream = io.StringIO()
    init_console_only(config(), stream=stream)
    get_logger("x").info("é")
    assert json.loads(stream.getvalue().splitlines()[1])["event"] == "é"


SHARED = """
import sys, threading
from tasker_actors.telemetry.logging import get_logger, init_console_only
init_console_only(worker=int(sys.argv[1]))
def work(thread):
    log = get_logger("x")
    for number in range(100):
        log.info("line", number=number, padding="x" * 300 * (thread + 1))
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_lines_of_threads_and_processes_on_one_file_do_not_mix(tmp_path):
    with (tmp_path / "log").open("ab") as file:
        workers = [subprocess.Popen([sys.executable, "-c", SHARED, str(slot)], stderr=file) for slot in range(2)]
        assert [worker.wait(30) for worker in workers] == [0, 0]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len([line for line in lines if line["event"] == "line"]) == 800


@pytest.mark.parametrize(("rate", "calls", "written"), [(1.0, 10, 10), (0.0, 10, 0), (0.1, 100, 10), (0.3, 10, 3)])
def test_a_sampler_writes_its_share(rate, calls, written):
    sampler = LineSampler(rate)
    assert sum(sampler() for _ in range(calls)) == written


def test_a_sampler_spreads_evenly_and_alike_in_every_run():
    samples = []
    for sampler in (LineSampler(0.25), LineSampler(0.25)):
        samples.append([sampler() for _ in range(8)])
    assert samples[0] == samples[1] == [False, False, False, True] * 2


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"from 0.0 to 1.0"):
        LineSampler(rate)


def test_phase_2_may_end_at_any_moment_of_another_threads_line(config, stream):
    init_console_only(config(), stream=stream)
    output = log_output()

    def was_long_enough(moment):
        """Write a line, and end the export before the statement of it that has this number."""
        statements = count()

        def between(frame, event, _):
            if event == "line" and frame.f_code is LogOutput.line.__code__ and next(statements) == moment:
                output.export_to(None)
            return between

        output.export_to(lambda line: None)
        tracer = sys.gettrace()
        sys.settrace(between)
        try:
            output.line("x", "info", {"event": "y"})
        finally:
            sys.settrace(tracer)
        return next(statements) > moment

    moments = next(moment for moment in count() if not was_long_enough(moment))
    assert moments > 10
