"""A project whose steps publish events in every way, and what it notes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.project import Project
from support.servers import DatabaseServer
from support.supervised import Supervised, supervised
from support.waiting import until

HANDLERS = '''
from tasker_actors import PermanentError, step_handler

@step_handler("outcome")
def outcome(context):
    """Comes to what the task asks for in this attempt."""
    wanted = context.get_input("outcomes")[context.retry_count]
    for event in context.get_input("publish", []):
        context.publish(*event["args"], **event.get("options", {}))
    if wanted == "permanent":
        raise PermanentError("for good", error_code="P1", metadata={"hint": "h", "attempt": "not this"})
    if wanted == "retryable":
        raise ValueError("for now")
    return {"value": context.get_input("value"), "big": "x" * context.get_input("size", 0)}

@step_handler("unpublishable")
def unpublishable(context):
    context.publish("code.nul", {"text": "a\\0b"}, delivery="durable")
    context.publish("code.not_json", {"thing": object()}, delivery="broadcast")
    context.publish("code.infinite", {"number": float("inf")})
    context.publish("code.surrogate", {"text": "\\ud800"})
    context.publish("code.integer", {"number": 2 ** 70})
    context.publish("code.large", {"text": "x" * (1024 * 1024)})
    context.publish("code.good", {"text": "good"}, delivery="durable")
    return {"done": True}
'''

PUBLISHERS = """
import asyncio, json, os
import psycopg
from tasker_actors import BasePublisher

def note(**fields):
    with open("hooks.jsonl", "a") as file:
        file.write(json.dumps(fields) + "\\n")

class Hooks(BasePublisher):
    publisher_name = "hooks"
    def should_publish(self, context):
        return context.input_data["value"] != "should not"
    def before_publish(self, event_name, payload, metadata):
        if payload["value"] == "raise":
            raise RuntimeError("no thanks")
        return payload["value"] != "before not"
    def transform_payload(self, context):
        return {"value": context.input_data["value"], "transformed": True}
    def additional_metadata(self, context):
        return {"step": context.step_name}
    def after_publish(self, event_name, payload, metadata):
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            seen = connection.execute("SELECT status FROM tasker.tasks WHERE task_uuid = %s", [metadata["task_uuid"]])
            note(hook="after", event=event_name, payload=payload, task=metadata["task_uuid"], status=seen.fetchone()[0])
        raise RuntimeError("what a hook raises after the commit changes nothing")
    def on_publish_error(self, event_name, error, payload):
        note(hook="error", event=event_name, error=str(error), payload=payload)

class Awaits(BasePublisher):
    publisher_name = "awaits"
    async def should_publish(self, context):
        await asyncio.sleep(0.01)
        if context.result["value"] == "for ever":
            await asyncio.get_running_loop().create_future()
        return context.result["value"]
    async def transform_payload(self, context):
        await asyncio.sleep(0.01)
        return {"awaited": context.result["value"]}
    async def after_publish(self, event_name, payload, metadata):
        await asyncio.sleep(0.01)
        note(hook="awaited", event=event_name, task=metadata["task_uuid"])
        if payload["awaited"] == "for ever after":
            await asyncio.get_running_loop().create_future()
"""

SUBSCRIBERS = """
import asyncio, json, threading
from pathlib import Path
from tasker_actors import BaseSubscriber, subscriber

def note(subscriber, event):
    with open(f"{subscriber}.jsonl", "a") as file:
        file.write(json.dumps(event.to_dict()) + "\\n")

@subscriber("seen.#", "seen.*")
def function(event):
    note("function", event)
    try:
        event.payload["value"] = "changed"
    except TypeError:
        pass

class Class(BaseSubscriber):
    patterns = ("seen.#",)
    def handle(self, event):
        note("class", event)

class Async(BaseSubscriber):
    patterns = ("seen.#",)
    async def handle(self, event):
        await asyncio.sleep(0)
        note("async", event)

@subscriber("seen.bad")
def failing(event):
    raise SystemExit(1)

@subscriber("seen.hang")
def hanging(event):
    threading.Event().wait(60)

@subscriber("seen.endless")
async def endless(event):
    await asyncio.sleep(60)

@subscriber("seen.slow")
def slow(event):
    pause = threading.Event()
    while not Path("slow.open").exists():
        pause.wait(0.01)
    note("slow", event)
"""

CONDITIONS = ("success", "failure", "retryable_failure", "permanent_failure", "always")
RETRY = {"max_attempts": 2, "backoff": "none"}
BUFFER = 5


def publishing_project(directory: Path) -> Project:
    """Write the project of these tests: one template for each way in which events are made and taken."""
    project = Project(directory)
    project.module("event_handlers", HANDLERS)
    project.module("event_publishers", PUBLISHERS)
    project.module("event_subscribers", SUBSCRIBERS)

    def template(name: str, *events: dict[str, Any], handler: str = "outcome") -> None:
        step = {"handler": handler, "retry": RETRY, "publishes_events": events}
        project.template(name, {"step": step}, namespace="ev")

    template("conditions", *({"name": f"on.{one}", "condition": one} for one in CONDITIONS))
    template("code")
    template("unpublishable", handler="unpublishable")
    template(
        "modes",
        {"name": "seen.durable", "delivery_mode": "durable"},
        {"name": "seen.fast", "delivery_mode": "fast"},
        {"name": "seen.both", "delivery_mode": "broadcast"},
    )
    schema = {"type": "object", "properties": {"value": {"type": "integer", "minimum": 10}}}
    template("schema", {"name": "with.schema", "schema": schema}, {"name": "without.schema"})
    template("large", {"name": "large.payload"}, {"name": "large.fast", "delivery_mode": "fast"})
    template(
        "hooks",
        {"name": "hooked.durable", "publisher": "hooks"},
        {"name": "hooked.fast", "publisher": "hooks", "delivery_mode": "fast"},
        {"name": "unhooked.event"},
    )
    template("awaits", {"name": "awaited.event", "publisher": "awaits"}, {"name": "unhooked.event"})
    for name in ("bad", "hang", "endless", "slow"):
        template(name, {"name": f"seen.{name}", "delivery_mode": "fast"})
    return project


@contextmanager
def publishing(directory: Path, server: DatabaseServer, *, dispatch_timeout_ms: int = 700) -> Iterator[Supervised]:
    """A supervisor of that project with one worker and short buffers: the body of a fixture."""
    variables = {
        "TASKER_EVENT_BUS__BUFFER_SIZE": str(BUFFER),
        "TASKER_EVENT_BUS__DISPATCH_TIMEOUT_MS": str(dispatch_timeout_ms),
    }
    with (
        server.database(migrated=True) as url,
        supervised(publishing_project(directory), url, workers=1, variables=variables) as found,
    ):
        yield found


def run(
    one: Supervised,
    template: str,
    *outcomes: str,
    status: str = "complete",
    context: Mapping[str, Any] | None = None,
    **fields: Any,
) -> str:
    """Run a task whose step comes to these outcomes, attempt by attempt; returns its UUID."""
    wanted = {"outcomes": outcomes or ("success",), "value": 1, **(context or {})}
    return str(one.run(template, namespace="ev", status=status, context=wanted, **fields)["task_uuid"])


def read_lines(one: Supervised, name: str) -> list[dict[str, Any]]:
    """What a subscriber or a hook has noted so far."""
    path = one.log.parent / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def received(one: Supervised, subscriber: str, task_uuid: str) -> list[dict[str, Any]]:
    """The events of a task that a subscriber got, in order."""
    return [event for event in read_lines(one, subscriber) if event["metadata"]["task_uuid"] == task_uuid]


class Difference:
    """What a figure of /metrics/events has grown by since this was made."""

    def __init__(self, one: Supervised) -> None:
        self._one = one
        self._before = one.event_stats()

    def is_now(self, part: str, **figures: int) -> bool:
        """Whether the figures of a part have grown by exactly this."""
        now = self._one.event_stats()[part]
        return all(now[name] - self._before[part][name] == value for name, value in figures.items())

    def wait(self, part: str, **figures: int) -> None:
        """Block until they have."""
        until(lambda: self.is_now(part, **figures))
