"""Phase 2 of telemetry: what may only start once native code is loaded (SPEC 4.1)."""

from __future__ import annotations

import os

from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.logging import get_logger, init_console_only, log_output


def init_tracing(config: TelemetryConfig | None = None, worker: int | None = None) -> None:
    """Phase 2: say how this process is observed from now on; phase 1 is run first where it has not been.

    This release has no exporters: telemetry that is switched on stays console-only, with one warning. A second call
    does nothing. Raises ConfigurationError like phase 1.
    """
    output = log_output()
    if output is None or output.pid != os.getpid():
        init_console_only(config, worker)
        output = log_output()
    if output is None or output.phase > 1:
        return
    output.phase += 1
    config = config or output.config
    log = get_logger("tasker_actors.telemetry")
    if config.enabled and not config.sdk_disabled:
        log.warning(
            "OpenTelemetry exporters are not part of this release, staying console-only",
            environment=config.environment,
            opentelemetry_enabled=False,
            otlp_endpoint=config.otlp_endpoint,
        )
    else:
        log.info("Console logging initialized", environment=config.environment, opentelemetry_enabled=False)
