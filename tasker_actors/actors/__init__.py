"""Actors on pykka: supervised behaviours, addresses across processes, and the links between them.

Read `actor.py` for what to write, `system.py` for how to run it, `host.py` for what happens when it fails.
"""

from tasker_actors.actors.actor import Actor
from tasker_actors.actors.address import ActorAddress, LocalAddress, actor_address
from tasker_actors.actors.envelope import Envelope, Reply
from tasker_actors.actors.errors import (
    ActorError,
    ActorStartError,
    ActorUnavailableError,
    AskTimeoutError,
    LinkClosedError,
    LinkFullError,
)
from tasker_actors.actors.hosted import hosted
from tasker_actors.actors.link import LinkLimits, ProcessLink
from tasker_actors.actors.restart import RestartPolicy
from tasker_actors.actors.system import ActorStatus, ActorSystem
from tasker_actors.actors.tally import DeliveryCounts
from tasker_actors.actors.wire import MessageRegistry

__all__ = [
    "Actor",
    "ActorAddress",
    "ActorError",
    "ActorStartError",
    "ActorStatus",
    "ActorSystem",
    "ActorUnavailableError",
    "AskTimeoutError",
    "DeliveryCounts",
    "Envelope",
    "LinkClosedError",
    "LinkFullError",
    "LinkLimits",
    "LocalAddress",
    "MessageRegistry",
    "ProcessLink",
    "Reply",
    "RestartPolicy",
    "actor_address",
    "hosted",
]
