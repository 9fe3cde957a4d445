"""Whether a worker hangs, as far as its supervisor can see."""

from __future__ import annotations

from tasker_actors.settings import Settings
from tasker_actors.supervision.process import is_stopped
from tasker_actors.supervision.progress import Station, is_hung
from tasker_actors.supervision.slots import Incarnation, IncarnationState


def hung_because(incarnation: Incarnation, settings: Settings, now: float) -> str | None:
    """Say why a worker that has a process has to be killed; None while it starts, works or drains in time.

    Its main thread's beats are read from its memory block. They have to come over its link too: a worker that cannot
    be told anything is of no use. What its flow does, it says in them.
    """
    worker, reader = settings.worker, incarnation.reader
    assert reader is not None  # noqa: S101 - it came with the process
    main_thread = Station("main thread", reader.heartbeat().progress, has_work=True)
    link = Station("link", incarnation.heartbeats, has_work=incarnation.state is IncarnationState.RUNNING)
    silence = incarnation.signs_of_life.look(now, [main_thread, link])
    silent_s = 0.0 if silence is None else silence.seconds
    match incarnation.state:
        case IncarnationState.STARTING if silent_s > settings.supervisor.startup_timeout_ms / 1000:
            return f"it was not ready after {silent_s:.1f} s"
        case IncarnationState.RUNNING if is_hung(
            silent_s,
            hang_s=worker.hang_timeout_ms / 1000,
            lease_s=worker.lease_ms / 1000,
            is_stopped=_is_stopped(incarnation, silent_s > worker.hang_timeout_ms / 1000),
            handlers_end_in_s=_handlers_end_in_s(incarnation, reader.running_until_ns() / 1e9, settings, now),
        ):
            part = "" if silence is None else silence.station
            return f"its {part} gave no sign of life for {silent_s:.1f} s"
        case IncarnationState.RUNNING if incarnation.stalled_ms > worker.hang_timeout_ms:
            return f"its {incarnation.stalled} made no progress for {incarnation.stalled_ms / 1000:.1f} s"
        case _:
            return None


def _handlers_end_in_s(incarnation: Incarnation, running_until: float, settings: Settings, now: float) -> float:
    """Say how long the worker's handlers may go on, and after the last of them its other threads may take to begin."""
    if running_until:
        incarnation.handlers_seen_at = now
        return running_until + settings.worker.timeout_grace_ms / 1000 - now
    # One that held the interpreter has ended a moment ago: nobody else has had a turn to give a sign of life.
    return incarnation.handlers_seen_at + settings.worker.hang_timeout_ms / 1000 - now


def _is_stopped(incarnation: Incarnation, is_silent: bool) -> bool:  # noqa: FBT001 - asked only of those that are silent, for its cost
    return is_silent and incarnation.pid is not None and is_stopped(incarnation.pid)
