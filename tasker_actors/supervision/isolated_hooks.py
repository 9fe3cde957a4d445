"""Publishers whose hooks run in a process of their own, so that none can hang or end the supervisor.

A worker's hooks die with their worker. Those of its steps that end with it have to run somewhere: a hook that hangs in
C, holds the interpreter or ends its process may be why the worker died.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Final

import orjson

from tasker_actors.errors import TaskerError
from tasker_actors.events.outgoing import BoundDeclaration
from tasker_actors.events.publisher import BasePublisher, DefaultPublisher, PublishContext
from tasker_actors.telemetry.trace_context import current_trace
from tasker_actors.workflow.outcome import StepFailure

_END_S: Final = 1.0
_CHUNK_BYTES: Final = 65536


class HookProcessError(TaskerError):
    """A hook raised, hung, or ended its process; the message says which."""


class IsolatedHooks:
    """Makes what stands for users' publishers; for any thread, which blocks while a hook runs.

    `export_ms` is how long a process may export what its hooks traced and logged, once it has no more to do.
    """

    def __init__(self, modules: Sequence[str], *, timeout_ms: int, start_timeout_ms: int, export_ms: float) -> None:
        self._modules = tuple(modules)
        self._timeout = timeout_ms / 1000
        self._start_timeout = start_timeout_ms / 1000
        self._export = export_ms / 1000

    @contextmanager
    def declarations(self, declarations: Sequence[BoundDeclaration]) -> Iterator[Sequence[BoundDeclaration]]:
        """Lend the declarations with publishers that call their hooks elsewhere, in a process that ends by itself."""
        process = _HookProcess(self._modules, self._timeout, self._start_timeout, self._export)
        try:
            yield tuple(
                one
                if type(one.publisher) is DefaultPublisher
                else replace(one, publisher=_DistantPublisher(one.publisher_name, process))
                for one in declarations
            )
        finally:
            process.close()


class _DistantPublisher(BasePublisher):
    def __init__(self, name: str, process: _HookProcess) -> None:
        self._name = name
        self._process = process

    @property
    def publisher_name(self) -> str:
        return self._name

    def should_publish(self, context: PublishContext) -> Any:
        assert isinstance(context.outcome, StepFailure)  # noqa: S101 - a lost step has failed
        document = {
            "event_name": context.event_name,
            "delivery_mode": context.delivery_mode.value,
            "outcome": asdict(context.outcome),
            "payload": context.payload,
            "facts": asdict(context.facts),
        }
        if (trace := current_trace()) is not None:
            document |= {"traceparent": trace.traceparent, "tracestate": trace.tracestate}
        return self._process.call("should_publish", publisher=self._name, context=document)

    def transform_payload(self, context: PublishContext) -> Any:  # noqa: ARG002 - the process has it
        return self._process.call("transform_payload")

    def additional_metadata(self, context: PublishContext) -> Any:  # noqa: ARG002 - as above
        return self._process.call("additional_metadata")

    def before_publish(self, event_name: str, payload: Any, metadata: Mapping[str, Any]) -> Any:
        return self._process.call("before_publish", event_name=event_name, payload=payload, metadata=metadata)


class _HookProcess:
    """The other side of `hook_process`: started at the first call, of no use after the first failure of its own."""

    def __init__(self, modules: Sequence[str], timeout: float, start_timeout: float, export: float) -> None:
        self._modules = modules
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._export = export
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._broken: str | None = None

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook there and return what it returns; raises HookProcessError."""
        if self._broken is not None:
            raise HookProcessError(self._broken)
        try:
            if self._link is None:
                self._link = self._start()
                self._receive(self._link, self._start_timeout)
            self._link.settimeout(self._timeout)
            self._link.sendall(orjson.dumps({"hook": hook, **arguments}) + b"\n")
            answer = self._receive(self._link, self._timeout)
        except TimeoutError as error:
            self._broken = f"{hook} did not return in time; the process that it ran in was killed"
            raise HookProcessError(self._broken) from error
        except OSError as error:
            self._broken = f"{hook} ended the process that it ran in: {self._exit_code()}"
            raise HookProcessError(self._broken) from error
        if "raised" in answer:
            raise HookProcessError(answer["raised"])
        return answer["returned"]

    def close(self) -> None:
        """End the process: at once if it failed, else when it has exported, for which nobody waits."""
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            if self._broken is not None:
                self._process.kill()
            threading.Thread(target=self._exit_code, name="hook-process-end", daemon=True).start()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tasker_actors.supervision.hook_process"]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, str(os.getpid()), str(theirs.fileno()), str(self._export), *self._modules],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        return ours

    def _receive(self, link: socket.socket, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        line = bytearray()
        while not line.endswith(b"\n"):
            link.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = link.recv(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionResetError
            line += chunk
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def _exit_code(self) -> str:
        if self._process is None:
            return "it could not be started"
        try:
            return f"exit code {self._process.wait(_END_S + self._export)}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            return f"exit code {self._process.wait()}"
