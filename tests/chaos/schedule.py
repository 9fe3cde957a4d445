"""What breaks when: a function of a seed. The same seed gives the same faults, times and choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class FaultKind(StrEnum):
    """Everything that is done to the system; what each does is in faults.py."""

    KILL_WORKER = "kill_worker"
    PAUSE_WORKER = "pause_worker"
    FREEZE_WORKER = "freeze_worker"
    KILL_SUPERVISOR = "kill_supervisor"
    PAUSE_SUPERVISOR = "pause_supervisor"
    TERM_SUPERVISOR = "term_supervisor"
    HUP = "hup"
    ADD_WORKER = "add_worker"
    STOP_SERVER_FAST = "stop_server_fast"
    STOP_SERVER_IMMEDIATE = "stop_server_immediate"
    CRASH_BACKEND = "crash_backend"
    TERMINATE_SESSIONS = "terminate_sessions"
    CUT_ALL = "cut_all"
    CUT_ONE = "cut_one"
    DELAY = "delay"
    SILENCE_ALL = "silence_all"
    SILENCE_ONE = "silence_one"
    READ_ONLY = "read_only"
    LOCK_STEPS = "lock_steps"
    EXHAUST_CONNECTIONS = "exhaust_connections"
    STALL_SUBSCRIBERS = "stall_subscribers"
    POISON = "poison"
    EXIT = "exit"
    HOLD_INTERPRETER = "hold_interpreter"
    OVERRUN = "overrun"
    FILL_MEMORY = "fill_memory"
    KEEP_MEMORY = "keep_memory"
    HANG_PUBLISHER = "hang_publisher"


@dataclass(frozen=True, slots=True)
class Habit:
    """How often a kind comes beside the others, and how long it lasts where it lasts."""

    weight: float
    least_s: float = 0.0
    most_s: float = 0.0
    ends_supervisor: bool = False


HABITS: Mapping[FaultKind, Habit] = {
    FaultKind.KILL_WORKER: Habit(6),
    FaultKind.PAUSE_WORKER: Habit(4, 0.2, 2.0),
    FaultKind.FREEZE_WORKER: Habit(1),
    FaultKind.KILL_SUPERVISOR: Habit(1.5, ends_supervisor=True),
    FaultKind.PAUSE_SUPERVISOR: Habit(1, 0.3, 4.0),
    FaultKind.TERM_SUPERVISOR: Habit(1, ends_supervisor=True),
    FaultKind.HUP: Habit(1),
    FaultKind.ADD_WORKER: Habit(1, 2.0, 6.0),
    FaultKind.STOP_SERVER_FAST: Habit(2, 0.1, 3.0),
    FaultKind.STOP_SERVER_IMMEDIATE: Habit(2, 0.1, 3.0),
    FaultKind.CRASH_BACKEND: Habit(1),
    FaultKind.TERMINATE_SESSIONS: Habit(2),
    FaultKind.CUT_ALL: Habit(3),
    FaultKind.CUT_ONE: Habit(6),
    FaultKind.DELAY: Habit(2, 1.0, 4.0),
    FaultKind.SILENCE_ALL: Habit(1, 0.5, 6.0),
    FaultKind.SILENCE_ONE: Habit(2, 0.5, 12.0),
    FaultKind.READ_ONLY: Habit(1, 0.5, 3.0),
    FaultKind.LOCK_STEPS: Habit(1, 0.5, 8.0),
    FaultKind.EXHAUST_CONNECTIONS: Habit(1, 1.0, 3.0),
    FaultKind.STALL_SUBSCRIBERS: Habit(1, 1.0, 4.0),
    FaultKind.POISON: Habit(2),
    FaultKind.EXIT: Habit(1),
    FaultKind.HOLD_INTERPRETER: Habit(0.5),
    FaultKind.OVERRUN: Habit(1),
    FaultKind.FILL_MEMORY: Habit(1),
    FaultKind.KEEP_MEMORY: Habit(1),
    FaultKind.HANG_PUBLISHER: Habit(0.5),
}

LAST_SUPERVISOR = 0.7
"""From this part of the time on no supervisor is ended: the last one lives through many faults, and is then counted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: due `at_s` seconds after the start, `choice` (0 to 1) picks its victim, `duration_s` is its length."""

    number: int
    at_s: float
    kind: FaultKind
    choice: float
    duration_s: float


def make_schedule(
    seed: int, seconds: float, *, pause_s: float = 2.5, kinds: Sequence[FaultKind] = tuple(FaultKind)
) -> list[Fault]:
    """Spread faults of these kinds over this time, `pause_s` apart on average.

    First each kind comes once, in any order, then by weight.
    """
    random = Random(seed)
    once = list(kinds)
    random.shuffle(once)
    last_supervisor = seconds * LAST_SUPERVISOR
    faults: list[Fault] = []
    at = random.uniform(0.0, pause_s)
    while at < seconds:
        kind = _next_kind(random, kinds, once, may_end_supervisor=at < last_supervisor)
        habit = HABITS[kind]
        faults.append(Fault(len(faults), at, kind, random.random(), random.uniform(habit.least_s, habit.most_s)))
        at += random.uniform(0.2, 1.8) * pause_s
    return faults


def _next_kind(
    random: Random, kinds: Sequence[FaultKind], once: list[FaultKind], *, may_end_supervisor: bool
) -> FaultKind:
    if once:
        # Those that must come before the last supervisor come first where time runs short.
        fits = [kind for kind in once if may_end_supervisor or not HABITS[kind].ends_supervisor]
        if fits:
            once.remove(fits[0])
            return fits[0]
    left = [kind for kind in kinds if may_end_supervisor or not HABITS[kind].ends_supervisor]
    return random.choices(left, [HABITS[kind].weight for kind in left])[0]
