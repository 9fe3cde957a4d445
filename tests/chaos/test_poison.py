"""Poison work ends after its attempts, whatever it does to its process, and takes nobody along (DESIGN 3 rule 3).

`EXPERIMENT_SCALE=n` repeats the kinds of poison n times.
"""

from __future__ import annotations

from collections import Counter

import pytest
from support.monotone import monotone
from support.project import Project
from support.scale import SCALE
from support.supervised import Supervised, supervised
from support.waiting import until

HANDLERS = """
import ctypes, os, resource, signal, threading
from tasker_actors import step_handler

def close_everything():
    os.closerange(3, 4096)
    os.kill(os.getpid(), signal.SIGKILL)

def use_all_memory():
    used = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used, used))
    held = []
    try:
        while True:
            held.append(bytearray(65536))
    except MemoryError:
        os.abort()

def end_every_thread():
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))

def end_the_container():
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()

DEEDS = {
    "exits as if all were well": lambda: os._exit(0),
    "kills itself": lambda: os.kill(os.getpid(), signal.SIGKILL),
    # To this thread and not to the process: whichever other thread took the signal, this one would go on until then.
    "stops itself": lambda: signal.pthread_kill(threading.get_ident(), signal.SIGSTOP),
    "reads address 0": lambda: ctypes.string_at(0),
    "keeps the interpreter": lambda: ctypes.PyDLL(None).pause(),
    "closes every descriptor": close_everything,
    "uses all memory": use_all_memory,
    "returns, and every other thread ends": end_every_thread,
    "ends the container": end_the_container,
}

@step_handler("swallow")
def swallow(context):
    poison = context.get_input("poison")
    if poison:
        DEEDS[poison]()
    else:
        threading.Event().wait(0.02)
    return {}
"""
IN_CI = [
    "exits as if all were well",
    "stops itself",
    "closes every descriptor",
    "uses all memory",
    "returns, and every other thread ends",
]
IN_LARGER_RUNS = ["kills itself", "reads address 0", "keeps the interpreter"]
KINDS = IN_CI if SCALE == 1 else (IN_CI + IN_LARGER_RUNS) * SCALE
INNOCENT = 200
LIMITS = {"TASKER_WORKER__RESTART_LIMIT": "1000", "TASKER_WORKER__HANG_TIMEOUT_MS": "1500"}


@pytest.fixture
def project(tmp_path) -> Project:
    project = Project(tmp_path / "project")
    project.module("poison_handlers", HANDLERS)
    for name, attempts in (("pill", 2), ("last_pill", 1)):
        project.template(
            name,
            {
                "swallow": {
                    "retry": {"max_attempts": attempts, "backoff": "none"},
                    "publishes_events": [
                        {"name": "pill.done"},
                        {"name": "pill.lost", "condition": "permanent_failure"},
                    ],
                },
            },
            namespace="pills",
        )
    return project


def create(one: Supervised, poisons: list[str], innocent: int = INNOCENT, name: str = "pill") -> dict[str, str]:
    """Create innocent tasks with the poisonous ones among them; returns these by uuid."""
    contexts = [{"poison": ""} for _ in range(innocent)]
    for number, poison in enumerate(poisons):
        contexts.insert(innocent // 2 + number, {"poison": poison})
    tasks = [{"name": name, "namespace": "pills", "context": context} for context in contexts]
    made = one.http.post("/v1/tasks/batch", json={"tasks": tasks}).json()["tasks"]
    pairs = zip(made, contexts, strict=True)
    return {task["task_uuid"]: context["poison"] for task, context in pairs if context["poison"]}


def unfinished(one: Supervised) -> int:
    return int(one.rows("SELECT count(*) AS n FROM tasker.tasks WHERE completed_at IS NULL")[0]["n"])


def assert_only_the_poison_paid(one: Supervised, poisons: dict[str, str], innocent: int, retried: list[str]) -> None:
    """All its attempts are charged to each poisonous step, none to any other, and every event is there once."""
    charged: dict[str, list[str]] = {}
    for row in one.rows(
        "SELECT task_uuid::text, outcome FROM tasker.step_attempts WHERE outcome <> 'lost' ORDER BY token"
    ):
        charged.setdefault(row["task_uuid"], []).append(row["outcome"])
    paid = [(poisons[uuid], charged[uuid]) for uuid in poisons]
    assert paid == [(poison, [*retried, "error"]) for poison in poisons.values()]
    assert Counter(tuple(outcomes) for uuid, outcomes in charged.items() if uuid not in poisons) == {
        ("complete",): innocent
    }
    events = Counter(row["message"]["event_name"] for row in one.queue("pills_domain_events"))
    assert events == {"pill.done": innocent, "pill.lost": len(poisons)}
    assert one.rows("SELECT token FROM tasker.steps WHERE token IS NOT NULL") == []


def test_poison_among_200_is_the_only_one_that_pays_whatever_it_does_to_its_process(project, embedded_server):
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, variables=LIMITS) as one,
        monotone(one),
    ):
        poisons = create(one, KINDS)

        until(lambda: unfinished(one) == 0, 120 * SCALE)

        assert_only_the_poison_paid(one, poisons, innocent=INNOCENT, retried=["waiting_for_retry"])
        assert one.process.poll() is None


def test_poison_that_ends_the_container_is_the_only_one_that_pays(project, embedded_server):
    """Nobody is left who saw what was running: what a suspect noted in the database before it began must do."""
    with embedded_server.database(migrated=True) as url:
        with supervised(project, url, variables=LIMITS) as one:
            poisons = create(one, ["ends the container"], innocent=20, name="last_pill")
            one.wait_ended()
        deaths = 1
        while deaths < 6 and is_ended_by_poison(project, url, f"supervisor_{deaths}.log"):
            deaths += 1
        with supervised(project, url, variables=LIMITS, log="last.log") as one:
            assert_only_the_poison_paid(one, poisons, innocent=20, retried=[])
        assert deaths == 3  # two that made it a suspect, and its one attempt


def is_ended_by_poison(project: Project, url: str, log: str) -> bool:
    """Start a supervisor again; whether it ends before all work is done."""
    one = Supervised(project, url, variables=LIMITS, log=log)
    try:
        until(lambda: one.process.poll() is not None or unfinished(one) == 0, 60)
        return one.process.poll() is not None
    finally:
        one.close()
