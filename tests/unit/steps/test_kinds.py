"""Functions of the special kinds, as the runtime calls them and as a test of their author does."""

import asyncio

import pytest
from pydantic import BaseModel

from tasker_actors import (
    BatchConfig,
    Decision,
    PermanentError,
    StepHandlerResult,
    api_handler,
    batch_analyzer,
    batch_worker,
    decision_handler,
    depends_on,
    inputs,
    step_handler,
)
from tasker_actors.errors import HandlerNotFoundError
from tasker_actors.steps.api_handler import APIMixin
from tasker_actors.steps.batch.batchable import Batchable
from tasker_actors.steps.bound import bind_function
from tasker_actors.steps.decision_handler import DecisionMixin
from tasker_actors.steps.declaration import declaration_of
from tasker_actors.steps.handler import StepHandler


def invoke(function, context):
    bound = bind_function(function, declaration_of(function))
    value = bound.invoke(context)
    return asyncio.run(value) if bound.is_async else value


@decision_handler("orders.route", version="3.0.0")
@depends_on(order="validate_order")
@inputs("tier")
def route(order, tier, _context):
    if order is None:
        raise PermanentError("no order", error_code="NO_ORDER")
    if order["items"] == 0:
        return Decision.skip("nothing ordered")
    return Decision.route(["pack"], tier=tier)


@decision_handler("orders.route_async")
async def route_async(context):
    return Decision.route(["pack"]) if context.get_input("go") else StepHandlerResult.success({"own": True})


@batch_analyzer("rows.analyze", worker_template="process_rows")
@inputs("rows")
def analyze(rows):
    if rows is None:
        return StepHandlerResult.failure("no rows", retryable=False)
    return BatchConfig(total_items=rows, batch_size=10, metadata={"kind": "rows"})


@batch_worker("rows.process")
def process(batch_context, context):
    return {"range": [batch_context.start_cursor, batch_context.end_cursor], "step": context.step_name}


@api_handler("users.fetch", base_url="http://127.0.0.1:9", timeout=2.5, default_headers={"x-a": "1"})
def fetch(api):
    return {"url": api.base_url, "timeout": api.default_timeout, "headers": dict(api.default_headers)}


def test_a_decision_of_a_function_is_what_the_runtime_reads(make_context):
    context = make_context(dependency_results={"validate_order": {"items": 2}}, input_data={"tier": "gold"})

    result = invoke(route, context)

    assert result.result["decision_point_outcome"] == {"type": "create_steps", "step_names": ["pack"]}
    assert result.result["routing_context"] == {"tier": "gold"}
    assert result.metadata == {"decision_handler": "orders.route", "decision_version": "3.0.0"}


def test_a_function_may_skip_and_be_async_and_return_what_it_wants(make_context):
    empty = make_context(dependency_results={"validate_order": {"items": 0}})

    assert invoke(route, empty).result["reason"] == "nothing ordered"
    assert invoke(route_async, make_context(input_data={"go": True})).result["decision_point_outcome"]["step_names"]
    assert invoke(route_async, make_context()).result == {"own": True}


def test_an_analysis_of_a_function_names_the_worker_step(make_context):
    outcome = invoke(analyze, make_context(input_data={"rows": 25})).result["batch_processing_outcome"]

    assert (outcome["worker_template_name"], outcome["worker_count"]) == ("process_rows", 3)
    assert invoke(analyze, make_context(input_data={"rows": 0})).result["batch_processing_outcome"] == {
        "type": "no_batches"
    }
    assert invoke(analyze, make_context()).error_message == "no rows"


def test_a_worker_as_a_function_gets_its_range(make_context):
    inputs = {"cursor": {"batch_id": "001", "start_cursor": 3, "end_cursor": 9, "batch_size": 6}, "is_no_op": False}

    assert invoke(process, make_context(step_inputs=inputs)) == {"range": [3, 9], "step": "assess_delay"}


def test_an_api_function_gets_its_client(make_context):
    assert invoke(fetch, make_context()) == {"url": "http://127.0.0.1:9", "timeout": 2.5, "headers": {"x-a": "1"}}


def test_a_function_that_does_not_take_what_its_kind_passes_is_refused():
    @batch_worker("rows.blind")
    def blind(context): ...

    with pytest.raises(HandlerNotFoundError, match="passes 'batch_context' but the function has no parameter"):
        bind_function(blind, declaration_of(blind))


def test_a_name_is_needed_and_given_once():
    with pytest.raises(TypeError, match="decision_handler takes the handler's name"):
        decision_handler(route)
    with pytest.raises(TypeError, match=r"already the handler 'orders\.route'"):
        step_handler("orders.second")(route)


# the class that stands for a function


def test_the_class_of_a_function_has_the_tools_of_its_kind():
    assert issubclass(route._handler_class, DecisionMixin)
    assert issubclass(analyze._handler_class, Batchable)
    assert issubclass(process._handler_class, Batchable)
    assert issubclass(fetch._handler_class, APIMixin)
    assert all(issubclass(one._handler_class, StepHandler) for one in (route, analyze, process, fetch))
    assert (route._handler_class.handler_name, route._handler_class().version) == ("orders.route", "3.0.0")


def test_the_class_of_a_function_gives_a_result_for_whatever_happens(make_context):
    handler = route._handler_class()
    done = handler.call(make_context(dependency_results={"validate_order": {"items": 1}}))
    failed = handler.call(make_context())

    assert done.is_success
    assert (failed.error_message, failed.error_code, failed.retryable) == ("no order", "NO_ORDER", False)


def test_decorators_above_the_name_count_for_the_class_too(make_context):
    class Order(BaseModel):
        size: int

    @depends_on(order=("make_order", Order))
    @step_handler("orders.measure")
    async def measure(order):
        if order.size < 0:
            raise RuntimeError("negative")
        return {"size": order.size}

    handler = measure._handler_class()
    context = make_context(dependency_results={"make_order": {"size": 4}})

    assert asyncio.run(handler.call(context)).result == {"size": 4}
    context.dependency_results = {"make_order": {"size": -1}}
    assert asyncio.run(handler.call(context)).error_type == "handler_error"
