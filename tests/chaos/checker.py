"""Compares what is there with what must be there, and complains of every difference."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from chaos.history import Attempt, History, Message, Step, Task, Worker
from chaos.load import Created, Published
from chaos.model import (
    WORKER_LOST,
    StepEnd,
    allowed_ends,
    events_due,
    kills,
    spec_name,
    step_ends,
    steps_of,
    task_status,
)
from chaos.workload import CHILD_KEY, GROW, TEMPLATES, StepSpec, TemplateSpec

FINAL = ("complete", "error", "cancelled")


@dataclass(slots=True)
class Known:
    """What the clients know, and which workers' ends were our doing (by pid)."""

    created: Mapping[str, Created]
    published: list[Published] = field(default_factory=list)
    doomed: Collection[int] = ()


def check(history: History, known: Known) -> Iterator[str]:
    """Give every complaint about tables, queues and journals."""
    yield from _creations(history, known)
    yield from _leases(history)
    yield from _tasks(history, known)
    yield from _charges(history, known)
    yield from _durable_events(history, known)
    yield from _deliveries(history)
    yield from _counts(history)


def template_of(task: Task) -> TemplateSpec:
    """The template of a task."""
    return TEMPLATES[task.namespace, task.name]


def spec_of(task: Task, step: str) -> StepSpec:
    """What the template says of a step."""
    return template_of(task).steps[spec_name(step)]


def counted(history: History) -> dict[str, dict[str, list[Attempt]]]:
    """Attempts that count by task and step, in their order; those that were lost beside others do not."""
    found: dict[str, dict[str, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
    for attempt in history.attempts:
        if attempt.outcome != "lost":
            found[attempt.task_uuid][attempt.step].append(attempt)
    return found


def _creations(history: History, known: Known) -> Iterator[str]:
    there = Counter(task.key for task in history.tasks)
    for key, count in there.items():
        if count > 1:
            yield f"creation: {count} tasks have the idempotency key {key}"
        if key not in known.created and not key.startswith(CHILD_KEY):
            yield f"creation: nobody created the task with the key {key}"
    for key in known.created.keys() - there.keys():
        yield f"creation: the task with the key {key} was created and is not there"
    yield from _children(history)


def _children(history: History) -> Iterator[str]:
    """A task that called another one and is complete has one, complete; one is cancelled only with its caller."""
    children = {task.key.removeprefix(CHILD_KEY): task for task in history.tasks if task.key.startswith(CHILD_KEY)}
    for task in history.tasks:
        child = children.pop(task.task_uuid, None)
        if child is not None and (child.status == "cancelled") > (task.status == "cancelled"):
            yield f"child: {child.task_uuid} is cancelled, and its caller {task.task_uuid} is {task.status}"
        calls = any(step.handler == "call" for step in template_of(task).steps.values())
        if calls and task.status == "complete" and (child is None or child.status != "complete"):
            yield f"child: task {task.task_uuid} is complete, and what it waited for is {child and child.status}"
    for parent, child in children.items():
        yield f"child: {child.task_uuid} was started by {parent}, which is no task"


def _leases(history: History) -> Iterator[str]:
    for step in history.steps:
        if step.token is not None and step.state == "in_progress":
            yield f"lease: step {step.name} of task {step.task_uuid} is still held by worker {step.worker_id}"
    for worker in history.workers:
        if worker.alive:
            yield f"lease: worker {worker.worker_id} counts as alive, and nothing runs"


def _tasks(history: History, known: Known) -> Iterator[str]:
    attempts = counted(history)
    starved = _is_starved(history)
    steps: dict[str, list[Step]] = defaultdict(list)
    for step in history.steps:
        steps[step.task_uuid].append(step)
    for task in history.tasks:
        template = template_of(task)
        names = sorted(step.name for step in steps[task.task_uuid])
        wanted = sorted(steps_of(task, template, attempts[task.task_uuid]))
        # What a task that was cancelled had not yet decided is not there.
        if names != wanted and not (task.status == "cancelled" and set(names) <= {*wanted, *template.steps}):
            yield f"task {task.task_uuid}: {len(names)} steps of {len(wanted)}: {names} and not {wanted}"
            continue
        yield from _attempts(task, template, steps[task.task_uuid], attempts[task.task_uuid], starved)
        yield from _status(task, template, steps[task.task_uuid], attempts[task.task_uuid], known)


def _is_starved(history: History) -> bool:
    """Whether a step took all the memory of its worker, which the others there may have felt.

    Where it did is not always noted: an attempt that was given back leaves no row.
    """
    return any(GROW in script for task in history.tasks for script in task.scripts.values())


def _status(
    task: Task, template: TemplateSpec, steps: list[Step], attempts: Mapping[str, list[Attempt]], known: Known
) -> Iterator[str]:
    # A child is cancelled with its caller, which is looked at elsewhere.
    nobody = "asked" if task.key.startswith(CHILD_KEY) else "no"
    cancel = known.created[task.key].cancel if task.key in known.created else nobody
    who = f"task {task.task_uuid} ({task.namespace}/{task.name})"
    if task.status not in FINAL:
        states = Counter(step.state for step in steps)
        yield f"{who}: is {task.status} and not finished; its steps: {dict(states)}"
    elif task.status == "cancelled":
        if cancel not in ("asked", "done"):
            yield f"{who}: is cancelled, and nobody asked for that"
        for step in steps:
            if step.state not in FINAL:
                yield f"{who}: is cancelled, and its step {step.name} is {step.state}"
    elif cancel == "done":
        yield f"{who}: its cancellation was confirmed, and it is {task.status}"
    else:
        ends = step_ends(task, template, attempts)
        if task.status != task_status(template, ends):
            yield f"{who}: is {task.status} and must be {task_status(template, ends)}"
        for step in steps:
            yield from _step_end(who, step, ends[step.name])


def _step_end(who: str, step: Step, end: StepEnd) -> Iterator[str]:
    found = StepEnd(step.state, step.blocked, step.value)
    if found != end:
        yield f"{who}: step {step.name} is {found} and must be {end}"


def _attempts(
    task: Task,
    template: TemplateSpec,
    steps: list[Step],
    attempts: Mapping[str, list[Attempt]],
    starved: bool,
) -> Iterator[str]:
    for step in steps:
        spec = template.steps[spec_name(step.name)]
        own = attempts.get(step.name, [])
        who = f"task {task.task_uuid} ({task.namespace}/{task.name}), step {step.name}"
        numbers = [each.attempt for each in own]
        if numbers != list(range(1, len(own) + 1)) or len(own) > spec.max_attempts:
            yield f"{who}: its attempts are {numbers}, of {spec.max_attempts} at most"
        if step.attempts != len(own):
            yield f"{who}: says {step.attempts} attempts, and {len(own)} count"
        completed = [each for each in own if each.outcome == "complete"]
        if len(completed) != (step.state == "complete"):
            yield f"{who}: is {step.state} with {len(completed)} committed results"
        if step.state == "complete" and step.result_attempt != step.attempts:
            yield f"{who}: its result is of attempt {step.result_attempt}, and attempt {step.attempts} was committed"
        for each in own:
            if starved and "MemoryError" in each.error:
                continue
            if (each.outcome, each.error_type) not in set(allowed_ends(task, step.name, spec, each.attempt)):
                yield f"{who}: attempt {each.attempt} came to {each.outcome}, {each.error_type}"


def _charges(history: History, known: Known) -> Iterator[str]:
    """A lost worker may charge one step at most, and an innocent one only where we have killed that worker."""
    tasks = {task.task_uuid: task for task in history.tasks}
    workers = {worker.worker_id: worker for worker in history.workers}
    charged: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in history.attempts:
        if attempt.outcome != "lost" and attempt.error_type == WORKER_LOST:
            charged[attempt.worker_id].append(attempt)
    for worker_id, attempts in charged.items():
        if len(attempts) > 1:
            steps = [f"{each.step} of task {each.task_uuid}" for each in attempts]
            yield f"charge: the end of worker {worker_id} was charged to {len(attempts)} steps: {', '.join(steps)}"
        for each in attempts:
            if not kills(tasks[each.task_uuid], each.step, each.attempt) and not _ours(workers.get(worker_id), known):
                yield f"charge: {each.step} of task {each.task_uuid} pays for worker {worker_id}, which it did not kill"


def _ours(worker: Worker | None, known: Known) -> bool:
    return worker is not None and (worker.pid is None or worker.pid in known.doomed)


def _durable_events(history: History, known: Known) -> Iterator[str]:
    yield from _repeated(history.messages, "in the queues")
    yield from _repeated(history.letters, "among the dead letters")
    queued = Counter(_identity(each) for each in history.messages if each.step_uuid is not None)
    letters = Counter(_identity(each) for each in history.letters)
    step_uuids = {(step.task_uuid, step.name): step.step_uuid for step in history.steps}
    tasks = {task.task_uuid: task for task in history.tasks}
    for attempt in history.attempts:
        if attempt.outcome == "lost":
            continue
        task = tasks[attempt.task_uuid]
        for due in events_due(task, spec_of(task, attempt.step), attempt):
            key = (step_uuids.get((attempt.task_uuid, attempt.step), ""), attempt.attempt, due.event_name)
            in_queue, in_letters = queued.pop(key, 0), letters.pop(key, 0)
            wanted = {"queue": (1, 0), "letters": (0, 1), "fast": (0, 0)}.get(due.where, (1, 0) if in_queue else (0, 1))
            if (in_queue, in_letters) != wanted:
                yield (
                    f"event: {due.event_name} of attempt {attempt.attempt} of {attempt.step} of task {task.task_uuid} "
                    f"is {in_queue} times in the queue and {in_letters} times a dead letter, due: {due.where}"
                )
    for (step_uuid, number, name), count in (queued + letters).items():
        yield f"event: {name} of attempt {number} of step {step_uuid} is there {count} times, and nothing calls for it"
    yield from _correlations(history, tasks)
    yield from _outside(history, known)


def _identity(message: Message) -> tuple[str, int, str]:
    return message.step_uuid or "", message.attempt or 0, message.event_name


def _repeated(messages: list[Message], where: str) -> Iterator[str]:
    for event_id, count in Counter(each.event_id for each in messages).items():
        if count > 1:
            yield f"event: {event_id} is {count} times {where}"


def _correlations(history: History, tasks: Mapping[str, Task]) -> Iterator[str]:
    for message in (*history.messages, *history.letters):
        if message.task_uuid is not None and message.correlation_id != tasks[message.task_uuid].correlation_id:
            yield f"event: {message.event_id} has another correlation id than its task {message.task_uuid}"


def _outside(history: History, known: Known) -> Iterator[str]:
    """An event published over HTTP is there once if its client was told so, else once or not at all."""
    there = Counter(each.correlation_id for each in history.messages if each.step_uuid is None)
    for event in known.published:
        count = there.pop(event.correlation_id, 0)
        if count > 1 or (event.answered and count == 0):
            yield f"event: {event.correlation_id}, published over HTTP, is {count} times in the queue"
    for correlation_id, count in there.items():
        yield f"event: {count} events outside of a step with correlation id {correlation_id}, and nobody published them"


def _deliveries(history: History) -> Iterator[str]:
    """A subscriber gets an event at most once, and only one that a committed attempt calls for."""
    seen = Counter(line.subject for line in history.journal if line.what == "event")
    for event_id, count in seen.items():
        if count > 1:
            yield f"delivery: event {event_id} came {count} times to the same subscriber"
    durable = {each.event_id for each in history.messages}
    broadcast, fast = _deliverable(history)
    for line in history.journal:
        if line.what != "event" or line.step_uuid == "-":
            continue
        key = (line.step_uuid, line.detail)
        if key in broadcast:
            if line.subject not in durable:
                yield f"delivery: broadcast event {line.subject} ({line.detail}) was delivered and is in no queue"
            continue
        fast[key] -= 1
        if fast[key] < 0:
            yield f"delivery: {line.detail} of step {line.step_uuid} came to a subscriber, and nothing calls for it"


def _deliverable(history: History) -> tuple[set[tuple[str, str]], Counter[tuple[str, str]]]:
    """What subscribers may have got, by step and event name: broadcast events, and how many fast ones."""
    step_uuids = {(step.task_uuid, step.name): step.step_uuid for step in history.steps}
    tasks = {task.task_uuid: task for task in history.tasks}
    broadcast: set[tuple[str, str]] = set()
    fast: Counter[tuple[str, str]] = Counter()
    for attempt in history.attempts:
        if attempt.outcome == "lost":
            continue
        task = tasks[attempt.task_uuid]
        for due in events_due(task, spec_of(task, attempt.step), attempt):
            key = (step_uuids.get((attempt.task_uuid, attempt.step), ""), due.event_name)
            if due.is_broadcast:
                broadcast.add(key)
            elif due.where == "fast":
                fast[key] += 1
    return broadcast, fast


def _counts(history: History) -> Iterator[str]:
    """What the commits counted, over all workers, is what is in the queues."""
    published: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for count in history.counts:
        key = (count.namespace, count.event_name)
        # Fast events are counted by those that deliver them.
        published[key] += count.published if count.mode != "fast" else 0
        failed[key] += count.failed
    in_queue = Counter((each.namespace, each.event_name) for each in history.messages)
    in_letters = Counter((each.namespace, each.event_name) for each in history.letters)
    for what, said, there in (("published", published, in_queue), ("failed", failed, in_letters)):
        for key in sorted(said.keys() | there.keys()):
            if said[key] != there[key]:
                yield f"counts: {'/'.join(key)}: {said[key]} were counted as {what}, and {there[key]} are there"
