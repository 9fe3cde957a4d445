"""What this process is, in attributes of OpenTelemetry's resource conventions (SPEC 4.1)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tasker_actors.identifiers import new_uuid7
from tasker_actors.telemetry.config import TelemetryConfig

DEFAULT_NAMESPACE = "tasker"
_SLOT = "tasker.worker.slot"


def resource_attributes(config: TelemetryConfig, worker: int | None) -> Mapping[str, str | int]:
    """The resource of this process, with an instance id that no other incarnation has, also not its fork.

    `OTEL_RESOURCE_ATTRIBUTES` adds to it, and names the namespace; what tells processes apart is never taken from it.
    """
    attributes: dict[str, str | int] = {"service.namespace": DEFAULT_NAMESPACE}
    attributes |= config.resource_attributes
    attributes |= {
        "service.name": config.service_name,
        "service.version": config.service_version,
        "service.instance.id": str(new_uuid7()),
        "deployment.environment.name": config.environment,
        "process.pid": os.getpid(),
    }
    attributes.pop(_SLOT, None)
    if worker is not None:
        attributes[_SLOT] = worker
    return attributes
