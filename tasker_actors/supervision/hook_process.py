"""The process in which publishers' hooks run for steps whose worker is gone.

Started by `isolated_hooks` as `python -m tasker_actors.supervision.hook_process SUPERVISOR_PID FD MODULE…`. It answers
one line of JSON with another; whatever a hook does to it costs the events of that settlement their publication.
"""

from __future__ import annotations

import inspect
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from io import BufferedRWPair
from typing import Any

import orjson

from tasker_actors.events.codec import PayloadError, encode_payload
from tasker_actors.events.declaration import DeliveryMode
from tasker_actors.events.discovery import publishers_in
from tasker_actors.events.facts import StepFacts
from tasker_actors.events.publisher import BasePublisher, PublishContext
from tasker_actors.events.text import described
from tasker_actors.steps.modules import import_modules
from tasker_actors.supervision.orphan import die_with_parent
from tasker_actors.telemetry.logging import init_console_only
from tasker_actors.workflow.outcome import StepFailure


class HookCalls:
    """Calls the hooks of one event after the other: each event begins with `should_publish`."""

    def __init__(self, publishers: Mapping[str, BasePublisher]) -> None:
        self._publishers = publishers
        self._publisher = BasePublisher()
        self._context: PublishContext | None = None

    def answer(self, request: Mapping[str, Any]) -> bytes:
        """Call the hook that is asked for; returns JSON with what it `returned`, or with what was `raised`."""
        try:
            returned = self._call(request)
            if inspect.iscoroutine(returned):
                returned.close()
                return orjson.dumps({"raised": "the hook is async; hooks of publishers are plain functions"})
            plain = dict(returned) if isinstance(returned, Mapping) else returned
            return orjson.dumps({"returned": orjson.Fragment(encode_payload(plain, max_bytes=sys.maxsize))})
        except PayloadError as error:
            return orjson.dumps({"raised": f"it returned what cannot be stored: {error}"})
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's hook; it costs its event
            return orjson.dumps({"raised": described(error)})

    def _call(self, request: Mapping[str, Any]) -> Any:
        hook = request["hook"]
        if hook == "should_publish":
            self._publisher = self._publishers[request["publisher"]]
            self._context = _context(request["context"])
        if hook == "before_publish":
            return self._publisher.before_publish(request["event_name"], request["payload"], request["metadata"])
        return getattr(self._publisher, hook)(self._context)


def _context(document: Mapping[str, Any]) -> PublishContext:
    return PublishContext(
        document["event_name"],
        DeliveryMode(document["delivery_mode"]),
        StepFailure(**document["outcome"]),
        document["payload"],
        StepFacts(**document["facts"]),
    )


def serve(lines: BufferedRWPair, calls: HookCalls) -> None:
    """Answer requests until the other side closes."""
    for line in lines:
        lines.write(calls.answer(orjson.loads(line)) + b"\n")
        lines.flush()


def main(arguments: Sequence[str]) -> int:
    """Start the process; see the module's first lines."""
    supervisor_pid, descriptor, *modules = arguments
    die_with_parent(int(supervisor_pid))
    init_console_only()
    publishers = publishers_in(import_modules(modules))
    with socket.socket(fileno=int(descriptor)) as link, link.makefile("rwb") as lines:
        lines.write(b"{}\n")  # ready
        lines.flush()
        serve(lines, HookCalls(publishers))
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
