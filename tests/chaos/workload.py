"""The work that is done while things break: templates, as plain values because the model reads them too.

Each step does in each attempt what its task's context says: `scripts` has for a step the behaviours of its attempts, of
which the last goes for all later ones. An instance of a batch worker has a script under its own name. The handler that
does it is in handlers.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.project import Project

OK = "ok"
RETRYABLE = "retryable"
PERMANENT = "permanent"
EXIT = "exit"
KILL = "kill"
LONG = "long"
HOLD = "hold"
OVERRUN = "overrun"
GROW = "grow"
KEEP = "keep"

ISOLATE = "isolate"
FAIL_FAST = "fail_fast"
CONTINUE = "continue_on_failure"


@dataclass(frozen=True, slots=True)
class EventSpec:
    """A declared event."""

    name: str
    mode: str = "durable"
    condition: str = "success"
    publisher: str | None = None

    @property
    def is_durable(self) -> bool:
        """Whether it is in the queue."""
        return self.mode != "fast"


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step of a template."""

    needs: Sequence[str] = ()
    events: Sequence[EventSpec] = ()
    max_attempts: int = 30
    backoff_ms: int = 40
    timeout_s: float | None = None
    kind: str = "standard"
    handler: str = "act"
    on_failure: str | None = None
    """What one failed instance of a batch worker means for its batch: the strategy."""


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """A template; the order of its steps is one in which they can run."""

    namespace: str
    name: str
    steps: Mapping[str, StepSpec]
    scripts: Sequence[Mapping[str, Sequence[str]]] = ({},)
    """Each of its tasks is created with one of these, drawn by lot; a step that is not named succeeds at once."""
    weight: float = 1.0
    """How often it is created beside the others."""


def _chain() -> dict[str, StepSpec]:
    events = {
        "one": [EventSpec("chain.one")],
        "two": [EventSpec("chain.two", "broadcast"), EventSpec("chain.seen", "fast")],
        "three": [EventSpec("chain.three", condition="always"), EventSpec("chain.never", condition="failure")],
        "four": [EventSpec("chain.four"), EventSpec("chain.both", "broadcast", "always")],
    }
    names = list(events)
    return {name: StepSpec(needs=names[:i][-1:], events=events[name]) for i, name in enumerate(names)}


def _diamond() -> dict[str, StepSpec]:
    return {
        "top": StepSpec(events=[EventSpec("diamond.top")]),
        "left": StepSpec(["top"], [EventSpec("diamond.left", "broadcast")]),
        "right": StepSpec(["top"], [EventSpec("diamond.right", publisher="Slow")]),
        "bottom": StepSpec(["left", "right"], [EventSpec("diamond.bottom", condition="always")]),
    }


def _fan() -> dict[str, StepSpec]:
    middle = {f"part{number:02}": StepSpec(["split"], [EventSpec("fan.part")]) for number in range(24)}
    return {"split": StepSpec(), **middle, "join": StepSpec(list(middle), [EventSpec("fan.joined", "broadcast")])}


def _choice() -> dict[str, StepSpec]:
    """The number says which of the branches exist: both, the first one or the other one."""
    return {
        "decide": StepSpec(events=_both("choice.decide"), kind="decision", handler="decide"),
        "odd": StepSpec(["decide"], [EventSpec("choice.odd", "broadcast")]),
        "even": StepSpec(["decide"], [EventSpec("choice.even")]),
        "tail": StepSpec(["even"]),
        "join": StepSpec(["odd", "tail"], _both("choice.join"), kind="deferred_convergence"),
    }


def _batch(on_failure: str) -> TemplateSpec:
    """The number says how many instances there are; each does its work in slices."""
    work = StepSpec(["divide"], _both("batch.work"), kind="batch_worker", handler="work", on_failure=on_failure)
    steps = {
        "divide": StepSpec(events=_both("batch.divide"), kind="batchable", handler="divide"),
        "work": work,
        "sum": StepSpec(["work"], _both("batch.sum"), kind="deferred_convergence"),
    }
    scripts = [
        {},
        {"divide": [RETRYABLE, OK], "sum": [RETRYABLE, OK]},
        {"divide": [RETRYABLE, PERMANENT]},
        {"sum": [RETRYABLE, PERMANENT]},
        {"work_001": [RETRYABLE, RETRYABLE, OK], "work_002": [PERMANENT], "work_004": [RETRYABLE, OK]},
        {"work_001": [RETRYABLE, PERMANENT], "work_003": [PERMANENT]},
    ]
    return TemplateSpec("storm", f"batch_{on_failure}", steps, scripts, weight=0.6)


def _both(prefix: str) -> list[EventSpec]:
    return [EventSpec(f"{prefix}.success", "broadcast"), EventSpec(f"{prefix}.failure", condition="failure")]


def _every_condition(prefix: str) -> list[EventSpec]:
    conditions = ("success", "failure", "retryable_failure", "permanent_failure", "always")
    modes = ("durable", "broadcast", "durable", "durable", "fast")
    return [
        EventSpec(f"{prefix}.{condition}", mode, condition) for condition, mode in zip(conditions, modes, strict=True)
    ]


def _alone(prefix: str, **keys: Any) -> dict[str, StepSpec]:
    return {"only": StepSpec(events=_every_condition(prefix), **keys)}


ORDINARY: Sequence[TemplateSpec] = (
    TemplateSpec("storm", "long", _alone("long"), [{"only": [LONG]}], weight=0.3),
    TemplateSpec("chaos", "chain", _chain()),
    TemplateSpec("chaos", "diamond", _diamond()),
    TemplateSpec("storm", "fan", _fan()),
    TemplateSpec(
        "storm",
        "retries",
        {
            "first": StepSpec(events=_every_condition("retries")),
            "second": StepSpec(["first"], [EventSpec("retries.end")]),
        },
        [{"first": [RETRYABLE, RETRYABLE, OK]}],
    ),
    TemplateSpec(
        "storm",
        "blocked",
        {
            "start": StepSpec(),
            "bad": StepSpec(["start"], _every_condition("blocked")),
            "after": StepSpec(["bad"], [EventSpec("blocked.after", condition="always")]),
            "good": StepSpec(["start"], [EventSpec("blocked.good")]),
            "last": StepSpec(["good"], [EventSpec("blocked.last", "broadcast")]),
            "both": StepSpec(["after", "last"]),
        },
        [{"bad": [RETRYABLE, PERMANENT]}],
    ),
    TemplateSpec(
        "chaos",
        "publishers",
        {
            "refuse": StepSpec(
                events=[EventSpec("publishers.refused", publisher="Raising"), EventSpec("publishers.ok")]
            ),
            "keep": StepSpec(["refuse"], [EventSpec("publishers.kept", publisher="Quiet")]),
        },
    ),
    TemplateSpec(
        "chaos",
        "choice",
        _choice(),
        [
            {},
            {"decide": [RETRYABLE, OK], "join": [RETRYABLE, OK]},
            {"decide": [RETRYABLE, PERMANENT]},
            {"even": [PERMANENT]},
            {"join": [RETRYABLE, PERMANENT]},
        ],
    ),
    *(_batch(strategy) for strategy in (ISOLATE, FAIL_FAST, CONTINUE)),
    TemplateSpec(
        "storm",
        "calls",
        {
            "call": StepSpec(events=_both("calls.call"), handler="call"),
            "after": StepSpec(["call"], [EventSpec("calls.after", "broadcast")]),
        },
        # The steps of the other task, which are `first` and `last`, have the scripts of the same context.
        [{}, {"call": [RETRYABLE, OK]}, {"call": [RETRYABLE, PERMANENT]}, {"last": [RETRYABLE, PERMANENT]}],
    ),
)

CALLED = TemplateSpec(
    "chaos",
    "called",
    {"first": StepSpec(events=[EventSpec("called.first")]), "last": StepSpec(["first"], [EventSpec("called.last")])},
)
"""What each task of `calls` starts one task of, and waits for."""
CHILD_KEY = "child-of-"
"""What the idempotency key of such a task begins with, before the id of the one that started it."""
SLICES = 3
"""Of the work of each instance of a batch worker."""

SPECIAL: Mapping[str, TemplateSpec] = {
    "poison": TemplateSpec("chaos", "poison", _alone("poison", max_attempts=3), [{"only": [KILL]}]),
    "exit": TemplateSpec("chaos", "exit", _alone("exit"), [{"only": [EXIT, EXIT, OK]}]),
    "hold": TemplateSpec("chaos", "hold", _alone("hold"), [{"only": [HOLD, OK]}]),
    "overrun": TemplateSpec("chaos", "overrun", _alone("overrun", timeout_s=1.0), [{"only": [OVERRUN, OK]}]),
    "grow": TemplateSpec("chaos", "grow", _alone("grow"), [{"only": [GROW, OK]}]),
    "keep": TemplateSpec("chaos", "keep", _alone("keep"), [{"only": [KEEP]}]),
    "hanging": TemplateSpec(
        "chaos", "hanging", {"only": StepSpec(events=[EventSpec("hanging.hook", publisher="Hanging")])}
    ),
}
"""Work that is itself a fault: each is created when the schedule says so."""

TEMPLATES: Mapping[tuple[str, str], TemplateSpec] = {
    (each.namespace, each.name): each for each in (*ORDINARY, CALLED, *SPECIAL.values())
}

HANDLERS = Path(__file__).with_name("handlers.py")
"""The module of handlers, publishers and subscribers; the project gets a copy."""


def write_project(project: Project) -> None:
    """Write the templates and the module."""
    project.module("chaos_handlers", HANDLERS.read_text(encoding="utf-8"))
    for template in TEMPLATES.values():
        project.template(
            template.name,
            {name: _step_document(name, step) for name, step in template.steps.items()},
            namespace=template.namespace,
        )


def _step_document(name: str, step: StepSpec) -> dict[str, Any]:
    document: dict[str, Any] = {
        "handler": step.handler,
        "type": step.kind,
        "dependencies": list(step.needs),
        "retry": {
            "max_attempts": step.max_attempts,
            "backoff": "linear",
            "backoff_base_ms": step.backoff_ms,
            "max_backoff_ms": 400,
        },
        "publishes_events": [_event_document(event) for event in step.events],
    }
    if step.timeout_s is not None:
        document["timeout_seconds"] = step.timeout_s
    if step.on_failure is not None:
        document["batch_config"] = {"worker_template": name, "failure_strategy": step.on_failure}
    return document


def _event_document(event: EventSpec) -> dict[str, Any]:
    document = {"name": event.name, "delivery_mode": event.mode, "condition": event.condition}
    if event.publisher is not None:
        document["publisher"] = event.publisher
    return document
