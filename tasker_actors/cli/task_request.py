"""What the command line says about tasks to create, as the JSON of requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from tasker_actors.cli.bounded_file import read_bounded
from tasker_actors.cli.durations import seconds_of
from tasker_actors.cli.errors import InputFileError
from tasker_actors.cli.json_lines import MAX_BATCH_BYTES, check_context
from tasker_actors.errors import ConfigurationError
from tasker_actors.workflow.template_reference import parse_template_reference


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """What every task of one command has in common; no version means the newest."""

    namespace: str
    name: str
    version: str | None
    correlation_id: str | None
    idempotency_key: str | None = None
    unique_for_seconds: int | None = None
    priority: int = 0
    run_at: str | None = None
    delay_seconds: int | None = None

    @classmethod
    def for_template(
        cls,
        text: str,
        correlation_id: str | None,
        *,
        idempotency_key: str | None = None,
        unique_for_seconds: int | None = None,
        priority: int = 0,
    ) -> TaskRequest:
        """Read `NAMESPACE/NAME[@VERSION]`; raises ConfigurationError for anything else."""
        reference = parse_template_reference(text)
        if reference is None:
            msg = f"{text!r} is no template: write NAMESPACE/NAME or NAMESPACE/NAME@VERSION"
            raise ConfigurationError(msg)
        return cls(*reference, correlation_id, idempotency_key, unique_for_seconds, priority)

    def starting(self, run_at: str | None, delay: str | None) -> TaskRequest:
        """Return the same for tasks that start later: at a moment, or after a length of time such as 2h.

        Raises ConfigurationError for both, and for what is no length of time. The supervisor reads the moment.
        """
        if run_at is not None and delay is not None:
            msg = "give --run-at or --delay, not both"
            raise ConfigurationError(msg)
        return replace(self, run_at=run_at, delay_seconds=seconds_of("--delay", delay))

    def body(self, context: bytes) -> bytes:
        """Return the JSON of one request; the context goes in as it was written, so that no number changes."""
        given = {
            "namespace": self.namespace,
            "name": self.name,
            "version": self.version,
            "correlation_id": self.correlation_id,
            "idempotency_key": self.idempotency_key,
            "unique_for_seconds": self.unique_for_seconds,
            "priority": self.priority or None,
            "run_at": self.run_at,
            "delay_seconds": self.delay_seconds,
        }
        known = {key: value for key, value in given.items() if value is not None}
        return orjson.dumps({**known, "context": orjson.Fragment(context)})

    @property
    def overhead(self) -> int:
        """The bytes that a request in a batch has besides its context: the rest of its JSON, and a comma."""
        return len(self.body(b"")) + 1


def read_context(text: str | None, file: Path | None) -> bytes:
    """Return the JSON of one context from an option's text or from a file; raises InputFileError if it is no object."""
    if file is None:
        name, content = "--context", (text or "").encode(errors="surrogateescape")
    else:
        name, content = str(file), read_bounded(file, "--context-file", MAX_BATCH_BYTES)
    content = content.removeprefix(b"\xef\xbb\xbf").strip()
    fault = check_context(content)
    if fault is not None:
        msg = f"{name}: {fault}"
        raise InputFileError(msg)
    return content
