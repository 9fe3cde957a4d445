"""Phase 2 without telemetry: console only (SPEC 4.1); with it: tests/integration/test_otlp_phases.py."""

import os

from tasker_actors.telemetry.logging import init_console_only, log_output
from tasker_actors.telemetry.phases import init_tracing

PHASE_1 = "Console-only logging initialized (FFI-safe mode)"
PHASE_2 = "Console logging initialized"


def test_without_telemetry_it_stays_console_only(config, stream):
    init_console_only(config(), 1, stream=stream)
    init_tracing()
    line = stream.lines[1]
    assert (line["event"], line["level"], line["worker"]) == (PHASE_2, "info", 1)
    assert (line["environment"], line["opentelemetry_enabled"]) == ("test", False)


def test_a_disabled_sdk_counts_as_telemetry_switched_off(config, stream):
    init_console_only(config(TELEMETRY_ENABLED="true", OTEL_SDK_DISABLED="true"), stream=stream)
    init_tracing()
    assert [line["event"] for line in stream.lines] == [PHASE_1, PHASE_2]


def test_each_phase_is_idempotent(config, stream):
    for _ in range(2):
        init_console_only(config(), stream=stream)
        init_tracing(config())
    assert [line["event"] for line in stream.lines] == [PHASE_1, PHASE_2]


def test_phase_2_runs_phase_1_first(config, monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)
    init_tracing(config(), 4)
    assert [(line["event"], line["worker"]) for line in stream.lines] == [(PHASE_1, 4), (PHASE_2, 4)]


def test_the_child_of_a_fork_can_run_phase_2_again(config, stream, monkeypatch):
    """A child has another pid and the parent's output."""
    monkeypatch.setattr("sys.stderr", stream)
    init_tracing(config(), 4)
    log_output().pid = os.getppid()
    init_tracing(config())
    assert [line["event"] for line in stream.lines] == [PHASE_1, PHASE_2] * 2
