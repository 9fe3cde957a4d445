"""What a worker process is told before anything else, as JSON over a pipe of its own."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

import orjson

from tasker_actors.actors import LinkLimits
from tasker_actors.errors import ProtocolError
from tasker_actors.native.bridge import WantedHandler
from tasker_actors.settings import LinkSettings

LIFECYCLE = "lifecycle"
"""The actor of a worker that takes the supervisor's orders."""
MAILBOX = "slot"
"""The supervisor's actors that take the messages of one incarnation each, as metrics name them all."""

_END = b"\n"

EXIT_ESCALATED = 70
"""An actor failed for good."""
EXIT_FENCED = 71
"""Another supervisor had declared the worker dead."""
EXIT_ORPHANED = 72
"""The supervisor is gone."""


def process_name(slot: int) -> str:
    """Name the worker of a slot in addresses, whichever incarnation that is."""
    return f"worker-{slot}"


def mailbox_name(slot: int, incarnation: int) -> str:
    """Name the supervisor's actor that takes the messages of one incarnation."""
    return f"{MAILBOX}-{slot}-{incarnation}"


def mailbox_kind(name: str) -> str:
    """Name an actor of the supervisor as metrics do, in which the mailboxes of incarnations are one."""
    return MAILBOX if name.startswith(f"{MAILBOX}-") else name


def link_limits(links: LinkSettings) -> LinkLimits:
    """Give both ends of a link the same limits, each from its own copy of the settings."""
    return LinkLimits(
        max_frame_bytes=links.max_message_bytes,
        max_queued_packets=links.max_queued_messages,
        max_queued_bytes=links.max_queued_bytes,
        send_timeout_ms=links.send_timeout_ms,
    )


@dataclass(frozen=True, slots=True)
class WorkerBoot:
    """Who a worker is and what it needs to start. `settings` is JSON and holds secrets, hence the pipe."""

    slot: int
    incarnation: int
    worker_id: int
    settings: str
    block_path: str
    database_url: str
    namespaces: tuple[str, ...]
    handler_modules: tuple[str, ...]
    native_handlers: tuple[WantedHandler, ...] = ()
    template_ids: tuple[int, ...] = ()

    def write(self, descriptor: int) -> None:
        """Write everything to a pipe and close it."""
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(orjson.dumps(asdict(self)) + _END)

    @classmethod
    def read(cls, descriptor: int) -> WorkerBoot | None:
        """Read one line of a pipe; None if the supervisor died before it wrote all, ProtocolError for anything else.

        Not to the pipe's end: a process that users' code forked in the supervisor may hold it open.
        """
        with os.fdopen(descriptor, "rb") as pipe:
            text = pipe.readline()
        if not text.endswith(_END):
            return None
        try:
            fields = orjson.loads(text)
            return cls(
                **{
                    **fields,
                    "namespaces": tuple(fields["namespaces"]),
                    "handler_modules": tuple(fields["handler_modules"]),
                    "template_ids": tuple(fields["template_ids"]),
                    "native_handlers": tuple(WantedHandler(**wanted) for wanted in fields["native_handlers"]),
                }
            )
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            msg = f"the worker's start data cannot be read ({error}); start workers through the supervisor only"
            raise ProtocolError(msg) from error
