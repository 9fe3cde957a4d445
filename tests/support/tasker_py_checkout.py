"""A small checkout such as `scripts/compat` takes, with modules and templates in the style of tasker-py's users.

A printing house: a decision, a batch with checkpoints, methods, resolvers, events and an HTTP API, each as classes and
as decorated functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

CLASSES = '''
"""The printing house as classes."""

import tasker_core
from tasker_core import ErrorType, HandlerRegistry, RegistryResolver, StepHandler, StepHandlerResult, log_info
from tasker_core.batch_processing import Batchable
from tasker_core.domain_events import BasePublisher, BaseSubscriber, StepEventContext
from tasker_core.errors import NetworkError, ValidationError
from tasker_core.errors.error_classifier import ErrorClassifier
from tasker_core.step_handler import ApiHandler, DecisionHandler
from tasker_core.step_handler.mixins import DecisionMixin


class CountPages(StepHandler):
    handler_name = "print_py.CountPages"

    def call(self, context: tasker_core.StepContext) -> StepHandlerResult:
        pages = context.get_input("pages")
        log_info("counting", {"task": str(context.task_uuid)})
        if pages is None:
            raise ValidationError("no pages", error_code="NO_PAGES", context={"field": "pages"})
        return self.success({"pages": pages}, metadata={"counted_by": self.name})


class ChooseBinding(DecisionHandler):
    handler_name = "print_py.ChooseBinding"

    def call(self, context):
        pages = context.get_dependency_field("count_pages_py", "pages")
        if pages == 0:
            return self.skip_branches(reason="an empty book")
        if pages < 50:
            return self.decision_success(["staple_py"], routing_context={"pages": pages})
        return self.decision_success(["glue_py", "cover_py"], routing_context={"pages": pages})


class Bind(StepHandler):
    handler_name = "print_py.Bind"

    def staple(self, context):
        choice = context.get_dependency_result("choose_py")
        return self.success({"way": "staple", "pages": choice["routing_context"]["pages"]})

    def call(self, context):
        deep = context.get_dependency_field("count_pages_py", "pages")
        return self.success({"way": context.step_config["way"], "deep": deep})


class Finish(StepHandler):
    handler_name = "print_py.Finish"

    def call(self, context):
        names = context.get_dependency_result_keys()
        bindings = [name for name in names if name in ("staple_py", "glue_py", "cover_py")]
        ways = sorted(context.get_dependency_result(name)["way"] for name in bindings)
        step = context.task_sequence_step
        count = step.get_results("count_pages_py")
        return self.success({"ways": ways, "pages": step.get_task_field("pages"), "count": count})


class PlanPrints(StepHandler, Batchable):
    handler_name = "print_py.PlanPrints"

    def call(self, context):
        copies = context.get_input_or("copies", 0)
        ranges = self.create_cursor_ranges(copies, context.get_config("batch_size"), max_batches=3)
        return self.batch_analyzer_success(
            cursor_configs=ranges, total_items=copies, worker_template_name="print_py", batch_metadata={"paper": "A5"}
        )


class Print(StepHandler, Batchable):
    handler_name = "print_py.Print"

    def call(self, context):
        idle = self.handle_no_op_worker(context)
        if idle:
            return idle
        batch = self.get_batch_context(context)
        start = batch.checkpoint_cursor if batch.has_checkpoint() else batch.start_cursor
        done = context.accumulated_results or {"sum": 0}
        if context.get_input("jam_at") == start and not context.is_retry():
            return self.failure("paper jam", ErrorType.RETRYABLE_ERROR, retryable=True)
        end = min(start + 4, batch.end_cursor)
        done["sum"] += sum(range(start, end))
        if end < batch.end_cursor:
            return self.checkpoint_yield(end, end - batch.start_cursor, done)
        return self.batch_worker_success(items_processed=end - batch.start_cursor, last_cursor=end, batch_metadata=done)


class Collect(StepHandler, Batchable):
    handler_name = "print_py.Collect"

    def call(self, context):
        scenario = self.detect_aggregation_scenario(context.dependency_results, "plan_py", "print_py_")
        return self.aggregate_batch_worker_results(
            scenario,
            {"copies": 0, "sum": 0},
            lambda results: {
                "copies": sum(one["items_processed"] for one in results.values()),
                "sum": sum(one["batch_metadata"]["sum"] for one in results.values()),
            },
        )


class Fetch(ApiHandler):
    handler_name = "print_py.Fetch"

    def call(self, context):
        response = self.get(context.get_input("url"))
        return self.api_success(response) if response.ok else self.api_failure(response)


class Both(DecisionMixin, StepHandler):
    def call(self, context):
        assert ErrorClassifier().retryable(NetworkError("x"))
        return {"by": "registered by hand", "capabilities": self.capabilities}


HandlerRegistry.instance().register("print.by_hand", Both)


class Presses(RegistryResolver):
    _name = "presses"
    _priority = 20
    pattern = r"press/(?P<size>\\d+)$"

    def resolve_handler(self, definition, config):
        return Press(self._match_pattern(definition.callable)["size"])


class Press(StepHandler):
    def __init__(self, size="0"):
        self.size = size

    def call(self, context):
        return self.success({"size": self.size})


class Announcer(BasePublisher):
    @property
    def publisher_name(self):
        return "print_py.publishers.Announcer"

    def should_publish(self, ctx: StepEventContext) -> bool:
        return ctx.result["pages"] > 0

    def transform_payload(self, ctx):
        return {"pages": ctx.result["pages"], "by": ctx.metadata["counted_by"]}

    def additional_metadata(self, ctx):
        return {"house": "print"}


class Listener(BaseSubscriber):
    @classmethod
    def subscribes_to(cls):
        return ["book.*"]

    def handle(self, event):
        log_info("heard", {"event": event["event_name"], "pages": event["payload"]["pages"]})
'''

FUNCTIONS = '''
"""The printing house as decorated functions."""

import httpx
from pydantic import BaseModel

from tasker_core.errors import PermanentError
from tasker_core.step_handler.functional import (
    BatchConfig,
    Decision,
    api_handler,
    batch_analyzer,
    batch_worker,
    decision_handler,
    depends_on,
    inputs,
    step_handler,
)
from tasker_core.batch_processing import Batchable
from tasker_core.types import BatchWorkerContext, StepHandlerResult


class Book(BaseModel):
    pages: int | None = None


@step_handler("print_dsl.count_pages")
@inputs(Book)
def count_pages(inputs: Book):
    if inputs.pages is None:
        raise PermanentError("no pages", error_code="NO_PAGES")
    return StepHandlerResult.success({"pages": inputs.pages}, {"counted_by": "a function"})


@decision_handler("print_dsl.choose")
@depends_on(book=("count_pages_dsl_py", Book))
async def choose(book: Book, _context):
    if book.pages == 0:
        return Decision.skip("an empty book")
    steps = ["staple_dsl_py"] if book.pages < 50 else ["glue_dsl_py", "cover_dsl_py"]
    return Decision.route(steps, pages=book.pages)


@step_handler("print_dsl.bind")
@depends_on(choice="choose_dsl_py", book="count_pages_dsl_py")
def bind(choice, book, context):
    return {"way": context.step_name.split("_")[0], "pages": choice["routing_context"]["pages"], "deep": book["pages"]}


@step_handler("print_dsl.finish")
@depends_on(staple="staple_dsl_py", glue="glue_dsl_py", cover="cover_dsl_py", book="count_pages_dsl_py")
@inputs("pages")
def finish(staple, glue, cover, book, pages):
    return {"ways": sorted(one["way"] for one in (staple, glue, cover) if one), "pages": pages, "count": book}


@batch_analyzer("print_dsl.plan", worker_template="print_dsl_py")
@inputs("copies")
def plan(copies, context):
    return BatchConfig(total_items=copies or 0, batch_size=context.get_config("batch_size"), metadata={"paper": "A5"})


@batch_worker("print_dsl.print")
def print_pages(batch_context: BatchWorkerContext, context):
    if batch_context.is_no_op:
        return {"no_op": True}
    tools = Batchable()
    start = batch_context.checkpoint_cursor if batch_context.has_checkpoint() else batch_context.start_cursor
    done = batch_context.accumulated_results or {"sum": 0}
    if context.get_input("jam_at") == start and not context.is_retry():
        raise RuntimeError("paper jam")
    end = min(start + 4, batch_context.end_cursor)
    done["sum"] += sum(range(start, end))
    if end < batch_context.end_cursor:
        return tools.checkpoint_yield(end, end - batch_context.start_cursor, done)
    return tools.batch_worker_success(items_processed=end - batch_context.start_cursor, batch_metadata=done)


@step_handler("print_dsl.collect")
def collect(context):
    tools = Batchable()
    scenario = tools.detect_aggregation_scenario(context.dependency_results, "plan_dsl_py", "print_dsl_py_")
    if scenario.no_batches():
        return tools.no_batches_aggregation_result({"copies": 0, "sum": 0})
    workers = context.get_all_dependency_results("print_dsl_py_")
    return {
        "copies": tools.aggregate_worker_results(workers)["total_processed"],
        "sum": sum(one["batch_metadata"]["sum"] for one in workers),
        "worker_count": scenario.worker_count,
        "scenario": "with_batches",
    }


@api_handler("print_dsl.fetch", base_url="http://127.0.0.1:9")
@inputs("url")
def fetch(url, api):
    try:
        api.get("/nobody-is-there")
    except httpx.ConnectError as error:
        assert api.connection_error(error, "trying").retryable
    response = api.get(url)
    return api.api_success(response) if response.ok else api.api_failure(response)


@step_handler("print_dsl.by_hand")
def by_hand():
    return {"by": "a name"}
'''


def _steps(suffix: str, handlers: Mapping[str, Any]) -> list[dict[str, Any]]:
    def step(name: str, dependencies: list[str] | None = None, **more: Any) -> dict[str, Any]:
        handler = handlers[name]
        return {
            "name": f"{name}{suffix}",
            "dependencies": [f"{one}{suffix}" for one in dependencies or ()],
            "handler": {"callable": handler} if isinstance(handler, str) else handler,
            "retry": {"max_attempts": 3, "backoff_base_ms": 10},
            **more,
        }

    announced = {"name": "book.counted", "delivery_mode": "broadcast", "publisher": "print_py.publishers.Announcer"}
    return [
        step("count_pages", publishes_events=[announced]),
        step("choose", ["count_pages"], type="decision"),
        step("staple", ["choose"]),
        step("glue", ["choose"]),
        step("cover", ["choose"]),
        step("finish", ["staple", "glue", "cover"], type="deferred_convergence"),
        step("plan", type="batchable"),
        step(
            "print",
            ["plan"],
            type="batch_worker",
            batch_config={"worker_template": f"print{suffix}", "failure_strategy": "fail_fast"},
        ),
        step("collect", ["print"], type="deferred_convergence"),
        step("fetch"),
        step("by_hand"),
        step("press"),
    ]


_BOOK = {"count_pages", "choose", "staple", "glue", "cover", "finish"}
_BATCH = {"plan", "print", "collect"}


def make_checkout(path: Path) -> Path:
    """Write the checkout and return its path."""
    handlers = path / "crates" / "tasker-py" / "tests" / "handlers"
    templates = path / "tests" / "fixtures" / "task_templates" / "python"
    handlers.mkdir(parents=True)
    templates.mkdir(parents=True)
    (path / "tests" / "fixtures" / "products.csv").touch()
    for package in (handlers, handlers.parent):
        (package / "__init__.py").touch()
    (handlers / "examples.py").write_text(dedent(CLASSES), encoding="utf-8")
    (handlers / "dsl_examples.py").write_text(dedent(FUNCTIONS), encoding="utf-8")
    way = "print_py.Bind"
    classes = {
        "count_pages": "print_py.CountPages",
        "choose": "print_py.ChooseBinding",
        "staple": {"callable": way, "method": "staple"},
        "glue": {"callable": way, "initialization": {"way": "glue"}},
        "cover": {"callable": way, "initialization": {"way": "cover"}},
        "finish": "print_py.Finish",
        "plan": {"callable": "print_py.PlanPrints", "initialization": {"batch_size": 10}},
        "print": "print_py.Print",
        "collect": "print_py.Collect",
        "fetch": "print_py.Fetch",
        "by_hand": "print.by_hand",
        "press": {"callable": "press/70", "resolver": "presses"},
    }
    functions = {
        "count_pages": "print_dsl.count_pages",
        "choose": "print_dsl.choose",
        "staple": {"callable": "print_dsl.bind", "method": "staple"},
        "glue": "print_dsl.bind",
        "cover": "print_dsl.bind",
        "finish": "print_dsl.finish",
        "plan": {"callable": "print_dsl.plan", "initialization": {"batch_size": 20}},
        "print": "print_dsl.print",
        "collect": "print_dsl.collect",
        "fetch": "print_dsl.fetch",
        "by_hand": "print_dsl.by_hand",
        "press": "press/70",
    }
    for style, suffix, known in (("", "_py", classes), ("_dsl", "_dsl_py", functions)):
        steps = _steps(suffix, known)
        kinds = {
            "book": [one for one in steps if one["name"].removesuffix(suffix) in _BOOK],
            "copies": [one for one in steps if one["name"].removesuffix(suffix) in _BATCH],
            "others": [one for one in steps if one["name"].removesuffix(suffix) not in _BOOK | _BATCH],
        }
        for name, of_kind in kinds.items():
            document = {
                "name": f"{name}{suffix}",
                "namespace_name": f"print{suffix}",
                "version": "1.0.0",
                "steps": of_kind,
            }
            (templates / f"{name}{style}.yaml").write_text(json.dumps(document), encoding="utf-8")
    return path
