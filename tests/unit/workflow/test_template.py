import hashlib
import json

import pytest
from pydantic import ValidationError

from tasker_actors.errors import TemplateError
from tasker_actors.events.declaration import DeliveryMode, EventCondition
from tasker_actors.workflow.retry import Backoff, RetryPolicy
from tasker_actors.workflow.step_type import StepType
from tasker_actors.workflow.template import RetrySpec, StepTemplate, TaskTemplate

STEP = {"name": "charge", "handler": {"callable": "payments.charge"}}
SMALL = {"name": "order", "namespace_name": "shop", "version": "1.0.0", "steps": [STEP]}


def template(**more):
    return TaskTemplate.model_validate({**SMALL, **more})


def test_defaults_of_a_step():
    (step,) = template().steps
    assert step.type is StepType.STANDARD
    assert step.dependencies == ()
    assert step.timeout_seconds is None
    assert step.retry_policy == RetryPolicy()
    assert step.handler.method is None
    assert step.handler.initialization == {}


def test_defaults_of_an_event():
    step = StepTemplate.model_validate({**STEP, "publishes_events": [{"name": "a.b"}]})
    (event,) = step.publishes_events
    assert (event.condition, event.delivery_mode) == (EventCondition.SUCCESS, DeliveryMode.DURABLE)
    assert (event.json_schema, event.publisher) == (None, None)


def test_the_schema_of_an_event_is_read_by_its_key():
    event = {"name": "a.b", "schema": {"type": "object"}, "delivery_mode": "broadcast", "condition": "always"}
    (read,) = StepTemplate.model_validate({**STEP, "publishes_events": [event]}).publishes_events
    assert read.json_schema == {"type": "object"}
    assert (read.delivery_mode, read.condition) == (DeliveryMode.BROADCAST, EventCondition.ALWAYS)


@pytest.mark.parametrize(
    ("retry", "policy"),
    [
        ({"max_attempts": 0}, RetryPolicy(max_attempts=1)),
        ({"retryable": False}, RetryPolicy(retryable=False)),
        ({"backoff": "fibonacci", "backoff_base_ms": 5, "max_backoff_ms": 50}, RetryPolicy(
            backoff=Backoff.FIBONACCI, base_ms=5, max_ms=50)),
        ({"backoff_base_ms": 60_000}, RetryPolicy(base_ms=60_000, max_ms=60_000)),
        ({"backoff_base_ms": 60_000, "max_backoff_ms": 70_000}, RetryPolicy(base_ms=60_000, max_ms=70_000)),
    ],
)  # fmt: skip
def test_the_retry_policy_of_a_step(retry, policy):
    assert StepTemplate.model_validate({**STEP, "retry": retry}).retry_policy == policy


def test_null_is_the_same_as_a_key_that_is_not_there():
    step = dict.fromkeys(StepTemplate.model_fields) | STEP
    assert StepTemplate.model_validate(step) == StepTemplate.model_validate(STEP)


def test_null_stays_in_free_form_values():
    step = {"name": "a", "handler": {"callable": "x", "initialization": {"key": None}}}
    assert StepTemplate.model_validate(step).handler.initialization == {"key": None}


@pytest.mark.parametrize("value", ["3", 3.0, True])
def test_numbers_are_not_guessed(value):
    with pytest.raises(ValidationError):
        RetrySpec(max_attempts=value)


@pytest.mark.parametrize("value", ["yes", 1, "true"])
def test_booleans_are_not_guessed(value):
    with pytest.raises(ValidationError):
        RetrySpec(retryable=value)


def test_models_are_frozen():
    with pytest.raises(ValidationError):
        template().name = "other"  # type: ignore[misc]  # that is what is being tested


def test_the_definition_is_json_and_reads_back():
    made = template(
        input_schema={"type": "object", "properties": {"a": {"default": None}}},
        metadata={"tags": ["x"], "none": None},
        environments={"test": {"steps": []}},
        steps=[
            {**STEP, "timeout_seconds": 3, "publishes_events": [{"name": "a.b", "schema": {}, "condition": "always"}]}
        ],
    )
    definition = json.loads(json.dumps(made.definition()))
    assert "environments" not in definition
    assert definition["steps"][0]["publishes_events"][0]["schema"] == {}
    again = TaskTemplate.from_definition(definition)
    assert again.definition() == definition
    assert again.content_hash() == made.content_hash()


def test_a_definition_of_a_later_release_can_be_read():
    definition = template().definition() | {"later": 1}
    definition["steps"][0]["later"] = 1
    assert TaskTemplate.from_definition(definition) == template()


def test_a_definition_that_cannot_be_read_is_an_error_with_all_faults():
    definition = template().definition() | {"version": 1, "namespace_name": "No"}
    with pytest.raises(TemplateError) as raised:
        TaskTemplate.from_definition(definition)
    assert [fault.key for fault in raised.value.faults] == ["namespace_name", "version"]


def test_the_hash_does_not_know_the_order_of_keys_nor_defaults_that_are_written_out():
    backwards = dict(reversed(SMALL.items()))
    tagged = {"metadata": {"a": 1, "b": 2}}
    assert template(**tagged).content_hash() == template(metadata={"b": 2, "a": 1}).content_hash()
    spelled = {**STEP, "retry": {"max_attempts": 3, "retryable": True}, "dependencies": [], "type": "standard"}
    same = {
        template().content_hash(),
        TaskTemplate.model_validate(backwards).content_hash(),
        template(steps=[spelled], metadata={}).content_hash(),
        TaskTemplate.from_definition(template().definition()).content_hash(),
        template(environments={"production": {"steps": [{"name": "ALL", "timeout_seconds": 3}]}}).content_hash(),
    }
    assert len(same) == 1
    assert len(same.pop()) == 64


def test_the_hash_is_of_what_the_file_says_so_that_a_later_releases_keys_do_not_change_it():
    said = json.dumps(SMALL, sort_keys=True, separators=(",", ":"))
    assert template().content_hash() == hashlib.sha256(said.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"description": "x"},
        {"version": "1.0.1"},
        {"metadata": {"a": 1}},
        {"input_schema": {}},
        {"steps": [{**STEP, "timeout_seconds": 1}]},
        {"steps": [{**STEP, "handler": {"callable": "payments.charge", "initialization": {"a": None}}}]},
        {"steps": [STEP, {**STEP, "name": "b"}]},
    ],
)
def test_the_hash_knows_every_change(change):
    assert template(**change).content_hash() != template().content_hash()


def test_the_order_of_steps_is_content():
    other = {**STEP, "name": "b"}
    assert template(steps=[STEP, other]).content_hash() != template(steps=[other, STEP]).content_hash()
