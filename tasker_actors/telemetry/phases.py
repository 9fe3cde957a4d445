"""Phase 2 of telemetry: what may only start once native code is loaded, and how it ends (SPEC 4.1).

Global, and documented as such: the exporter of this process and OpenTelemetry's providers, one each a process, because
OpenTelemetry's own globals and `os.fork` are.
"""

from __future__ import annotations

import atexit
import os
import time
from typing import TYPE_CHECKING, Final

from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.logging import LogOutput, get_logger, init_console_only, log_output

if TYPE_CHECKING:
    from tasker_actors.telemetry.exporter import Exporter
    from tasker_actors.telemetry.providers import Providers

DEFAULT_SHUTDOWN_MS: Final = 2000


class _Telemetry:
    """What phase 2 has made in this process."""

    exporter: Exporter | None = None
    providers: Providers | None = None
    hooks_are_set = False


_telemetry: Final = _Telemetry()


def init_tracing(
    config: TelemetryConfig | None = None, worker: int | None = None, *, max_queue_bytes: int | None = None
) -> None:
    """Phase 2: export traces, metrics and (opt-in) logs from now on, if the configuration says so.

    Phase 1 is run first where it has not been, also in the child of a fork. A second call does nothing. If the exporter
    cannot be built the process stays console-only, with one warning. Spans that wait to be exported hold
    `max_queue_bytes` of memory at most, and log records as much. Raises ConfigurationError like phase 1.
    """
    output = log_output()
    if output is None:
        init_console_only(config, worker)
    elif output.pid != os.getpid():
        init_console_only(config or output.config, output.worker if worker is None else worker, stream=output.stream)
    output = log_output()
    if output is None or output.phase > 1:
        return
    output.phase += 1
    config = config or output.config
    log = get_logger("tasker_actors.telemetry")
    if not config.enabled or config.sdk_disabled:
        output.export_to(None)
        log.info("Console logging initialized", environment=config.environment, opentelemetry_enabled=False)
        return
    try:
        _start(config, output.worker, output, max_queue_bytes)
    except Exception as error:
        output.export_to(None)
        log.warning(
            "OpenTelemetry could not be initialized, staying console-only",
            environment=config.environment,
            opentelemetry_enabled=False,
            otlp_endpoint=config.otlp_endpoint,
            exc_info=error,
        )
        return
    log.info(
        "Console logging with OpenTelemetry initialized",
        environment=config.environment,
        opentelemetry_enabled=True,
        logs_enabled=config.logs_enabled,
        otlp_endpoint=config.otlp_endpoint,
        service_name=config.service_name,
    )


def exporter() -> Exporter | None:
    """The exporter of this process; None before phase 2, without telemetry, and in the child of a fork."""
    return _telemetry.exporter


def sampling_ratio() -> float:
    """Which share of new traces this process samples, 0.0 to 1.0; none without an exporter."""
    output = log_output()
    return 0.0 if _telemetry.exporter is None or output is None else output.config.sampling_ratio


def flush(deadline: float) -> None:
    """Export what waits, metrics too, until the deadline (monotonic) at most; nothing without an exporter."""
    if _telemetry.exporter is not None:
        _telemetry.exporter.flush(deadline)


def shut_down(timeout_ms: float = DEFAULT_SHUTDOWN_MS) -> None:
    """Export what is left and stop exporting; lasts `timeout_ms` at most. Logging goes on, to the console.

    From any thread, and any number of times. Called by every orderly end of a supervisor or worker; the interpreter's
    own end calls it as the last resort.
    """
    current = _telemetry.exporter
    if current is None:
        return
    output = log_output()
    if output is not None:
        output.tell_lost_lines()
    current.shutdown(time.monotonic() + timeout_ms / 1000)
    if output is not None:
        output.export_to(None)


def _start(config: TelemetryConfig, worker: int | None, output: LogOutput, max_queue_bytes: int | None) -> None:
    from tasker_actors.telemetry.exporter import MAX_QUEUE_BYTES, Exporter  # noqa: PLC0415 - it loads gRPC, OpenTelemetry
    from tasker_actors.telemetry.otlp import make_sender  # noqa: PLC0415 - the same
    from tasker_actors.telemetry.otlp_logs import LogExport  # noqa: PLC0415 - the same
    from tasker_actors.telemetry.providers import Providers, current_span_ids  # noqa: PLC0415 - the same
    from tasker_actors.telemetry.resource import resource_attributes  # noqa: PLC0415 - the same

    if _telemetry.exporter is not None:  # phase 1 was run again with other values, and so is phase 2
        shut_down()
    attributes = resource_attributes(config, worker)
    exporter = Exporter(make_sender(config), config, attributes, max_queue_bytes=max_queue_bytes or MAX_QUEUE_BYTES)
    if _telemetry.providers is None:
        _telemetry.providers = Providers(config, attributes)
    _telemetry.providers.feed(exporter, logs=config.logs_enabled)
    exporter.start()
    _telemetry.exporter = exporter
    output.span_ids = current_span_ids
    dropped = output.export_to(LogExport(exporter) if config.logs_enabled else None)
    exporter.count_lost_logs(dropped, "too_many")
    if not _telemetry.hooks_are_set:
        _telemetry.hooks_are_set = True
        atexit.register(shut_down)
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )


def _before_fork() -> None:
    if _telemetry.exporter is not None:
        _telemetry.exporter.before_fork()


def _after_fork_in_parent() -> None:
    if _telemetry.exporter is not None:
        _telemetry.exporter.after_fork_in_parent()


def _after_fork_in_child() -> None:
    """Back to phase 1: console only, nothing counted, nothing waiting, and phase 2 may run again."""
    inherited, _telemetry.exporter = _telemetry.exporter, None
    if inherited is None:
        return
    inherited.after_fork_in_child()
    if _telemetry.providers is not None:
        if inherited.is_collecting:
            _telemetry.providers.give_up_metrics()
        _telemetry.providers.starve()
    output = log_output()
    if output is not None:
        output.back_to_phase_1()
