"""Clients that create, cancel and publish without a pause, and know at the end what they have created."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx
from chaos.workload import ORDINARY, SPECIAL, TemplateSpec

CLIENTS = 5
_REQUEST_S = 10.0
_AGAIN_S = 0.1
_CANCELLED = 0.04
_PUBLISHED = 0.1
_BATCHES = 0.1
_BATCH = 12


@dataclass(slots=True)
class Created:
    """A task that exists. `cancel` is how far its cancellation came: `no`, `asked` (no answer), `done`, `too_late`."""

    key: str
    template: TemplateSpec
    context: dict[str, Any]
    task_uuid: str | None = None
    cancel: str = "no"

    @property
    def correlation_id(self) -> str:
        """The client's own, by which it finds the task whose creation was not answered."""
        return str(uuid5(NAMESPACE_URL, self.key))


@dataclass(slots=True)
class Published:
    """An event that was published over HTTP; `answered` says that its client was told so."""

    correlation_id: str
    event_name: str
    answered: bool = False


class Load:
    """Several clients in threads, each with a random generator of its own, made of the seed.

    A request without a definite answer is sent again with the same idempotency key, until the answer is that the task
    is there. `url` is where the supervisor listens now, None while there is none.
    """

    def __init__(self, seed: int, url: Callable[[], str | None], backlog: Callable[[], int], *, rate: float) -> None:
        self._seed = seed
        self._url = url
        self._backlog = backlog
        self._interval_s = CLIENTS / rate
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._special = 0
        self._wanted: list[str] = []
        self.created: dict[str, Created] = {}
        self.published: list[Published] = []
        self.unanswered: Counter[str] = Counter()
        self.wrong_answers: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(CLIENTS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Create nothing more; returns when every client has its last definite answer."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def want(self, special: str) -> None:
        """Let the first client create a task that is itself a fault; it will be there, sooner or later."""
        with self._lock:
            self._wanted.append(special)

    def _run(self, number: int) -> None:
        random = Random(f"{self._seed}/{number}")
        count = 0
        while not self._ending.wait(random.uniform(0.5, 1.5) * self._interval_s):
            if number == 0:
                self._create_wanted()
            if self._backlog() > 0:
                continue
            count += 1
            key = f"{self._seed}-{number}-{count}"
            if random.random() < _PUBLISHED:
                self._publish(random)
            if random.random() < _BATCHES:
                template = self._ordinary(random)
                self._create([self._task(f"{key}-{each}", template, random) for each in range(_BATCH)])
            else:
                task = self._task(key, self._ordinary(random), random)
                self._create([task])
                if random.random() < _CANCELLED and task.task_uuid is not None:
                    self._cancel(task)
        if number == 0:
            self._create_wanted()

    def _create_wanted(self) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, []
        for name in wanted:
            self._special += 1
            self._create([self._task(f"{self._seed}-{name}-{self._special}", SPECIAL[name], Random(self._special))])

    @staticmethod
    def _ordinary(random: Random) -> TemplateSpec:
        return random.choices(ORDINARY, [each.weight for each in ORDINARY])[0]

    @staticmethod
    def _task(key: str, template: TemplateSpec, random: Random) -> Created:
        context = {
            "number": random.randrange(1000),
            "pause_s": random.choice((0.0, 0.002, 0.01, 0.05)),
            "code_events": random.random() < 0.1 and template in ORDINARY,
            "scripts": {step: list(script) for step, script in random.choice(template.scripts).items()},
        }
        return Created(key, template, context)

    def _create(self, tasks: Sequence[Created]) -> None:
        documents = [
            {
                "namespace": each.template.namespace,
                "name": each.template.name,
                "context": each.context,
                "idempotency_key": each.key,
                "correlation_id": each.correlation_id,
            }
            for each in tasks
        ]
        path, body = ("/v1/tasks/batch", {"tasks": documents}) if len(tasks) > 1 else ("/v1/tasks", documents[0])
        # 409: an earlier request whose answer was lost has made them, all or none.
        answer = self._until_definite("POST", path, body)
        if answer.status_code not in (201, 409):
            self.wrong_answers.append(f"creation: {answer.status_code} {answer.text[:300]}")
            return
        self.created.update({each.key: each for each in tasks})
        if len(tasks) == 1:
            # A refusal names no task: it is found by the correlation id, which is the client's own.
            tasks[0].task_uuid = answer.json().get("task_uuid") or self._find(tasks[0])

    def _find(self, task: Created) -> str:
        answer = self._until_definite("GET", f"/v1/tasks?correlation_id={task.correlation_id}", None)
        return str(answer.json()["tasks"][0]["task_uuid"])

    def _cancel(self, task: Created) -> None:
        task.cancel = "asked"
        answer = self._until_definite("DELETE", f"/v1/tasks/{task.task_uuid}", None)
        if answer.status_code not in (200, 409):
            self.wrong_answers.append(f"cancellation: {answer.status_code} {answer.text[:300]}")
        task.cancel = "done" if answer.status_code == 200 else "too_late"

    def _publish(self, random: Random) -> None:
        """Publish an event once: without an idempotency key nobody may repeat it."""
        event = Published(str(UUID(int=random.getrandbits(128), version=4)), "outside.seen")
        self.published.append(event)
        mode = random.choice(("durable", "broadcast"))
        body = {
            "namespace": "chaos",
            "name": event.event_name,
            "payload": {"from": "outside"},
            "delivery_mode": mode,
            "correlation_id": event.correlation_id,
        }
        answer = self._request("POST", "/v1/events", body)
        event.answered = answer is not None and answer.status_code == 202

    def _until_definite(self, method: str, path: str, body: Any) -> httpx.Response:
        pause = threading.Event()
        while True:
            answer = self._request(method, path, body)
            if answer is not None and answer.status_code < 500:
                return answer
            pause.wait(_AGAIN_S)

    def _request(self, method: str, path: str, body: Any) -> httpx.Response | None:
        """Send a request once; what has no definite answer is counted by what came instead, None where nothing did."""
        url = self._url()
        try:
            answer = None if url is None else httpx.request(method, url + path, json=body, timeout=_REQUEST_S)
        except httpx.HTTPError as error:
            answer = None
            self.unanswered[type(error).__name__] += 1
        else:
            if answer is None:
                self.unanswered["no supervisor"] += 1
            elif answer.status_code >= 500:
                self.unanswered[str(answer.status_code)] += 1
        return answer
