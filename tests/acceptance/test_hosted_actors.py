"""Users' own actors, named in the `[actors]` table of the configuration, live in every worker (DESIGN 2)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.project import Project
from support.readme_tables import in_place
from support.supervised import CONFIG, run_to_end, supervised
from support.waiting import until

from tasker_actors.actors import ActorError, ActorSystem, ActorUnavailableError, AskTimeoutError, ProcessLink
from tasker_actors.messages import CancelLeases, DumpStacks
from tasker_actors.postgres.connect import connect
from tasker_actors.postgres.workers import WorkerPlace, register_worker
from tasker_actors.settings import load_settings, settings_to_json
from tasker_actors.stats.block import create_block
from tasker_actors.stats.reader import BlockReader
from tasker_actors.supervision.boot import WorkerBoot
from tasker_actors.supervision.process import start_worker
from tasker_actors.supervision.spares import start_process
from tasker_actors.supervision.wire_messages import wire_registry
from tasker_actors.telemetry.metrics import DROPS

README = Path(__file__).parents[2] / "README.md"
ACTORS = """
import threading
import pykka
from tasker_actors import step_handler
from tasker_actors.actors import Actor
from tasker_actors.messages import CancelLeases, DumpStacks

class Tally(pykka.ThreadingActor):
    "Written for pykka, before there was a supervisor."
    reference = None

    def __init__(self):
        super().__init__()
        self.sum = 0

    def on_start(self):
        Tally.reference = self.actor_ref

    def on_receive(self, message):
        match message:
            case {"add": number}:
                self.sum += number
                return {"sum": self.sum}
            case {"raise": text}:
                raise ValueError(text)
            case {"hold": gate}:
                gate.wait(20)
            case CancelLeases(numbers):  # a message that may travel; which one makes no difference here
                self.sum += sum(numbers)
                return {"sum": self.sum}
            case DumpStacks():
                raise ValueError("on purpose")

class Echo(Actor):
    "Written for us."
    def receive(self, message):
        return {"echo": message.tokens, "correlation_id": self.envelope.correlation_id}

class Chatty(Actor):
    "Answers with more than fits into one message."
    def receive(self, message):
        return {"text": "x" * 2_000_000}

@step_handler("count")
def count(context):
    return Tally.reference.ask({"add": context.get_input("number")}, timeout=5)

@step_handler("flood")
def flood(context):
    gate = threading.Event()
    Tally.reference.tell({"hold": gate})
    for _ in range(60):
        Tally.reference.tell({"add": 0})
    gate.set()
    return {}

@step_handler("break_it")
def break_it(context):
    for _ in range(context.get_input("times")):
        Tally.reference.tell({"raise": "on purpose"})
    return Tally.reference.ask({"add": 1}, timeout=5) if context.get_input("times") < 3 else {}
"""


def example(mark, language):
    """The code of an example in README."""
    text = README.read_text(encoding="utf-8")
    return in_place(text, mark).removeprefix(f"```{language}\n").removesuffix("```")


def configured(project, text):
    """A configuration file: the one of the tests, with a table of actors."""
    return project.file("hosted.toml", CONFIG.read_text() + "\n[actors]\n" + text)


@pytest.fixture
def project(tmp_path):
    found = Project(tmp_path / "project")
    found.module("hosted_module", ACTORS)
    for name in ("count", "break_it", "flood"):
        found.template(name, {name: {}}, namespace="hosted")
    return found


def test_handlers_talk_to_a_hosted_pykka_actor_which_outlives_its_failures(project, database_url):
    path = configured(project, 'tally = "hosted_module:Tally"\n')
    variables = {"TASKER_WORKER__MAILBOX_SIZE": "25"}
    with supervised(project, database_url, workers=1, variables=variables, options=("--config", str(path))) as one:
        for number, total in ((2, 2), (3, 5)):
            task = one.run("count", namespace="hosted", context={"number": number})
            assert one.steps(task["task_uuid"])["count"]["result"] == {"sum": total}

        # What does not fit its mailbox is counted: all but 25, and one that it may have taken up by then.
        one.run("flood", namespace="hosted")
        dropped = frozenset({("worker", "0"), ("buffer", "mailboxes"), ("reason", "too_many")})
        until(lambda: one.metrics()["tasker_drops_total"][dropped] in (35, 36))

        task = one.run("break_it", namespace="hosted", context={"times": 1})

        # A new instance behind the same reference, which handled what waited behind the failure.
        assert one.steps(task["task_uuid"])["break_it"]["result"] == {"sum": 1}
        restarts = one.metrics()["tasker_actors_restarts_total"]
        assert {dict(labels)["reason"]: n for labels, n in restarts.items() if ("actor", "tally") in labels} == {
            "error": 1,
            "system": 0,
            "memory": 0,
            "exit": 0,
        }
        assert [line["reason"] for line in one.logged("Actor restarted")] == ["ValueError"]
        depths = {dict(labels)["actor"] for labels in one.metrics()["tasker_actors_mailbox_depth"]}
        assert "tally" in depths
        pids = one.worker_pids()

        # Beyond its restart limit the actor is dead; its worker ends and is replaced.
        one.create("break_it", namespace="hosted", context={"times": 20})
        until(lambda: {worker["last_reason"] for worker in one.workers().values()} == {"escalated"}, 30)
        one.wait_workers(lambda workers: len(workers) == 1 and not {w["pid"] for w in workers.values()} & pids)
        assert one.restarts() == {"escalated": 1}


@pytest.mark.parametrize("path", ["hosted_module:Nobody", "hosted_module:count"], ids=["unknown", "function"])
def test_an_actor_that_cannot_be_started_is_3_and_named(project, database_url, path):
    config = configured(project, f'tally = "{path}"\n')

    code, output = run_to_end(project, arguments=("--config", str(config)), DATABASE_URL=database_url)

    assert code == 3
    assert path in output


RELAYING = """
from tasker_actors import step_handler
from tasker_actors.actors import Actor, actor_address
from counters import Add, Total

class Forwarder(Actor):
    "Of each worker; all of them ask the counter of one."
    messages = (Add, Total)

    def receive(self, message):
        return actor_address("worker-1/counter").ask(message, 20)

@step_handler("forward")
def forward():
    "One of the two forwarders is in another process, and so is the counter for one of them."
    return {"totals": [actor_address(f"worker-{slot}/forwarder").ask(Add(1), 20).total for slot in (0, 1)]}

@step_handler("forward_async")
async def forward_async():
    actor_address("forwarder").tell(Add(40))
    return {"total": actor_address("forwarder").ask(Add(0), 20).total}
"""


def test_actors_of_two_workers_exchange_messages_of_their_own_with_the_readmes_module(project, database_url):
    project.module("counters", example("actors", "python"))
    project.module("relaying", RELAYING)
    settings = example("actors settings", "toml").removeprefix("[actors]\n")
    path = configured(project, settings + 'forwarder = "relaying:Forwarder"\n')
    for name in ("hello.count", "forward", "forward_async"):
        project.template(name.replace(".", "_"), {"only": {"handler": name}}, namespace="hosted")
    with supervised(project, database_url, workers=2, options=("--config", str(path))) as one:

        def result(name, **context):
            task = one.run(name, namespace="hosted", context=context)
            return one.steps(task["task_uuid"])["only"]["result"]

        assert [result("hello_count", number=number) for number in (2, 3)] == [{"total": 2}, {"total": 5}]
        assert result("forward") == {"totals": [1, 2]}
        assert result("forward_async") == {"total": 42}


def test_a_hosted_actor_is_told_and_asked_from_another_process(project, database_url, tmp_path, monkeypatch, capfd):
    """This process stands where the supervisor stands, and speaks to actors of a real worker process."""
    monkeypatch.chdir(project.directory)
    actors = 'tally = "hosted_module:Tally"\necho = "hosted_module:Echo"\nchatty = "hosted_module:Chatty"\n'
    limits = {"worker.concurrency": 2, "links.max_message_bytes": 1024 * 1024}
    settings = load_settings(configured(project, actors), limits)
    place = WorkerPlace(
        supervisor_id="01939e3c-7f2a-7000-8000-000000000000",
        host="here",
        process_space="tests",
        slot=0,
        incarnation=1,
        restarts=0,
        last_reason=None,
    )
    with connect(database_url, application_name="tests") as connection:
        worker_id = register_worker(connection, place)
    blocks = Path(tmp_path / "blocks")
    blocks.mkdir()
    block_path = create_block(blocks, slot=0, incarnation=1, executors=2)
    started = start_worker(
        start_process(),
        WorkerBoot(
            slot=0,
            incarnation=1,
            worker_id=worker_id,
            settings=settings_to_json(settings),
            block_path=str(block_path),
            database_url=database_url,
            namespaces=("hosted",),
            handler_modules=("hosted_module",),
        ),
    )
    system = ActorSystem("supervisor", registry=wire_registry(), on_undeliverable=lambda *_: None)
    link = ProcessLink(started.link, on_close=lambda _reason: None)
    try:
        system.add_link("worker-0", link)
        tally, echo = system.address("worker-0/tally"), system.address("worker-0/echo")

        def answers() -> bool:
            try:
                return echo.ask(CancelLeases((1,)), 5) is not None
            except (ActorUnavailableError, AskTimeoutError):
                return False

        until(answers, 60)
        tally.tell(CancelLeases((30, 10)))
        assert tally.ask(CancelLeases((2,)), 10) == {"sum": 42}
        answer = echo.ask(CancelLeases((7,)), 10, correlation_id="c-1")
        assert answer == {"echo": [7], "correlation_id": "c-1"}
        with pytest.raises(ActorError, match="on purpose"):
            tally.ask(DumpStacks(), 10)
        assert tally.ask(CancelLeases(()), 10) == {"sum": 42}
        with pytest.raises(ActorUnavailableError):
            system.address("worker-0/nobody").ask(DumpStacks(), 10)
        # What is too large for its link is refused on either side: here this process does not ask first.
        with pytest.raises(ActorError, match="more than the 1048574 that fit a frame"):
            system.address("worker-0/chatty").ask(DumpStacks(), 10)
        dropped = BlockReader(block_path).snapshot().figures.counters[DROPS]
        assert {labels: count for labels, count in dropped.items() if count} == {("links", "too_large"): 1}
        tally.tell(CancelLeases(tuple(range(10**15, 10**15 + 100_000))))
        started.process.wait(30)
        assert "more than the 1048576 allowed" in capfd.readouterr().err
    finally:
        link.close(time.monotonic() + 5)
        started.process.kill()
        started.process.wait()
        system.stop_all((), time.monotonic() + 5)
    assert started.process.returncode == 72  # without its supervisor a worker ends
