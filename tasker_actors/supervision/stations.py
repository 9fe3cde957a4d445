"""What a worker's main thread sees of the flow: which station has work, and which piece of it came last."""

from __future__ import annotations

from collections.abc import Iterator

from tasker_actors.actors import ActorSystem
from tasker_actors.actors.system import ActorStatus
from tasker_actors.pipeline import BUS, HOOKS, PUBLISHER, ROUTER, SOURCE, Pipeline, executor_name
from tasker_actors.postgres.outages import Session
from tasker_actors.stats.block import BlockWriter
from tasker_actors.supervision.progress import Station

_COMMIT = "commit"


def stations(
    pipeline: Pipeline, system: ActorSystem, block: BlockWriter, *, claims: Session, commits: Session
) -> Iterator[Station]:
    """Yield the stations of one worker's flow as they are now.

    Users' own actors are not among them: what they do is their users' affair. Users' functions, which all have a limit
    of their own, excuse the station that calls them.
    """
    parts = pipeline.parts
    actors = {status.name: status for status in system.actors()}
    yield actor_station(actors[SOURCE], excused=claims.is_waiting)
    for index, guard in enumerate(parts.guards):
        # One message lets an executor run many steps: each has a token of its own.
        status = actors[executor_name(index)]
        mark = (status.busy_since, block.tokens[index])
        yield Station(status.name, mark, status.busy_since is not None, guard.is_active)
    yield actor_station(actors[ROUTER])
    # One message lets the publisher commit many batches.
    yield actor_station(actors[PUBLISHER], parts.commits.seq, excused=commits.is_waiting)
    yield actor_station(actors[BUS])
    yield actor_station(actors[HOOKS], excused=parts.hooks_guard.is_active)
    # Not an actor, but what all of them are there for: whatever has a result gets committed.
    oldest = parts.ledger.oldest_with_result()
    yield Station(_COMMIT, oldest, oldest is not None, commits.is_waiting)


def actor_station(status: ActorStatus, batch: int = 0, *, excused: bool = False) -> Station:
    """Make an actor's station; `batch` is another one after each piece of work within a message."""
    has_work = status.busy_since is not None or status.mailbox_depth > 0
    # Not since when it is busy: an actor may have got its message this moment at every look, and be idle in between.
    return Station(status.name, (status.handled, status.restarts, batch), has_work, excused)
