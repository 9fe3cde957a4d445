"""Tasks that handlers start are checked at the call, with what is wrong and the nearest right name."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from support.leases import MIB, leased, template
from support.sub_workflows import Templates, starter_of

from tasker_actors.steps.task_reference import TaskRefusedError
from tasker_actors.steps.task_starter import TaskStarter
from tasker_actors.telemetry.span_ids import handler_call_id
from tasker_actors.workflow.dag import plan
from tasker_actors.workflow.identity import task_identity
from tasker_actors.workflow.registered import RegisteredTemplate
from tasker_actors.workflow.template import IdentityStrategy

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def registered(number=7, version="1.0.0", **keys):
    one = template({"a": [], "b": ["a"]}, name="invoice").model_copy(update={"version": version, **keys})
    return RegisteredTemplate(number, one, plan(one))


def start(starter, name="shop/invoice", context=None, **keys):
    plain = {"priority": None, "tags": (), "idempotency_key": None}
    return starter.start(name, {} if context is None else context, **{**plain, **keys})


def test_a_task_is_planned_with_all_that_its_rows_need():
    step = leased()
    starter = starter_of(step, registered())

    made = start(starter, context={"n": 1}, priority=3, tags=["a"], idempotency_key="k")

    (planned,) = starter.started
    document = orjson.loads(planned.encode())
    assert planned.reference is made
    assert (made.namespace, made.name, made.version) == ("shop", "invoice", "1.0.0")
    assert len(document.pop("step_uuids")) == 2
    assert document.pop("correlation_id") != step.correlation_id
    assert document == {
        "task_uuid": made.task_uuid,
        "template_id": 7,
        "context": {"n": 1},
        "context_bytes": 7,
        "initiator": f"{step.plan.namespace}/{step.plan.task_type}/{step.plan.name}",
        "source_system": None,
        "reason": None,
        "parent_correlation_id": step.correlation_id,
        "traceparent": step.trace.with_span(handler_call_id(step.trace.span_id)).traceparent,
        "tracestate": None,
        "priority": 3,
        "tags": ["a"],
        "idempotency_key": "k",
        "identity_hash": task_identity(
            None, namespace="shop", name="invoice", idempotency_key="k", unique_for_seconds=None, context={"n": 1}
        ),
    }


def test_without_a_version_it_is_the_newest():
    starter = starter_of(leased(), registered(1, "1.9.0"), registered(2, "1.10.0"))

    assert start(starter).version == "1.10.0"
    assert start(starter, "shop/invoice@1.9.0").version == "1.9.0"


@pytest.mark.parametrize(
    ("name", "keys", "code", "said"),
    [
        ("invoice", {}, "invalid_template", "write NAMESPACE/NAME or NAMESPACE/NAME@VERSION"),
        (None, {}, "invalid_template", "task of None cannot be started"),
        ("shop/invoise", {}, "unknown_template", "there is no such template (did you mean 'shop/invoice'?)"),
        ("shop/invoice@2", {}, "unknown_template", "there is no version 2; it has 1.0.0"),
        ("shop/invoice", {"context": {}}, "invalid_context", "does not fit its input_schema: /n: "),
        ("shop/invoice", {"context": {"n": "x"}}, "invalid_context", "/n: "),
        ("shop/invoice", {"context": [1]}, "invalid_context", "must be a mapping, not list"),
        ("shop/invoice", {"context": {"n": float("nan")}}, "invalid_context", "the context cannot be stored"),
        ("shop/invoice", {"context": {"n": 1, "x": "y" * 3 * MIB}}, "invalid_context", "the context cannot be stored"),
        ("shop/invoice", {"priority": 1001}, "invalid_task", "priority must be 0 to 1000, not 1001"),
        ("shop/invoice", {"priority": True}, "invalid_task", "priority must be 0 to 1000"),
        ("shop/invoice", {"tags": "urgent"}, "invalid_task", "tags must be at most 50 texts"),
        ("shop/invoice", {"tags": ["x"] * 51}, "invalid_task", "tags must be at most 50 texts"),
        ("shop/invoice", {"tags": [""]}, "invalid_task", "tags must be at most 50 texts"),
        ("shop/invoice", {"idempotency_key": "\0"}, "invalid_task", "idempotency_key must be a text"),
    ],
)
def test_what_cannot_be_started_is_refused_for_good_and_nothing_is_started(name, keys, code, said):
    starter = starter_of(leased(), registered(input_schema=SCHEMA))

    with pytest.raises(TaskRefusedError) as caught:
        start(starter, name, **{"context": {"n": 1}, **keys})

    assert (caught.value.error_code, caught.value.retryable) == (code, False)
    assert said in str(caught.value)
    assert starter.started == []


def test_a_task_has_the_identity_that_its_template_wants():
    strict = starter_of(leased(), registered(identity_strategy=IdentityStrategy.STRICT))
    start(strict, context={"n": 1, "m": 2})
    start(strict, context={"m": 2, "n": 1.0})
    assert len({task.document["identity_hash"] for task in strict.started}) == 1

    with pytest.raises(TaskRefusedError, match="give an idempotency_key") as caught:
        start(starter_of(leased(), registered(identity_strategy=IdentityStrategy.CALLER_PROVIDED)))
    assert caught.value.error_code == "missing_idempotency_key"


def test_a_workflow_that_starts_itself_for_ever_is_stopped_at_its_depth():
    step = leased()
    starter = starter_of(replace(step, task=replace(step.task, depth=20)), registered())

    with pytest.raises(TaskRefusedError, match=r"20 tasks above.*sub_workflows.max_depth is 20") as caught:
        start(starter)

    assert caught.value.error_code == "too_deep"


def test_one_attempt_starts_so_many_tasks_and_no_more():
    step = leased()
    limits = replace(step.plan.limits, max_tasks=2)
    starter = TaskStarter(replace(step, plan=replace(step.plan, limits=limits, templates=Templates(registered()))))
    for _ in range(2):
        start(starter)

    with pytest.raises(TaskRefusedError, match=r"has started 2; sub_workflows.max_tasks is 2"):
        start(starter)

    assert len(starter.started) == 2


def test_where_no_templates_are_known_none_is_found():
    with pytest.raises(TaskRefusedError, match="there is no such template"):
        start(TaskStarter(leased()))
