"""Which messages may cross the boundary between two processes."""

from __future__ import annotations

from tasker_actors import messages
from tasker_actors.actors import MessageRegistry


def wire_registry() -> MessageRegistry:
    """Make the registry of messages between supervisor and workers; both sides need the same."""
    return MessageRegistry(
        [
            messages.WorkAvailable,
            messages.PublishEvent,
            messages.EventPublished,
            messages.WorkerReady,
            messages.WorkerBootFailed,
            messages.Heartbeat,
            messages.ExemplarsFound,
            messages.WorkReleased,
            messages.CancelLeases,
            messages.Drain,
            messages.Recycle,
            messages.Drained,
            messages.DumpStacks,
        ]
    )
