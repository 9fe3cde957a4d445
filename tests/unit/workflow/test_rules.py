import textwrap

import pytest

from tasker_actors.workflow.faults import settle
from tasker_actors.workflow.load import parse_template

MINIMAL = """
name: order
namespace_name: shop
version: 1.0.0
steps:
  - name: charge
    handler: {callable: shop.charge}
"""


def parse(text):
    return parse_template(textwrap.dedent(text), file="t.yaml", environment="production")


TEN_FAULTS = """
name: order/1
namespace_name: Shop
version: 1.0
input_schema: {type: objekt}
steps:
  - name: a
    handler: {callable: shop.a}
    dependencies: [b, nowhere]
    retry: {backoff: exponental}
    timeout_seconds: -1
  - name: b
    handler: {callable: shop.b}
    dependencies: [a]
    publishes_events:
      - {name: NoEvent, delivery_mode: sometimes}
  - name: b
    handler:
"""


def test_a_template_with_ten_faults_reports_ten():
    template, faults = parse(TEN_FAULTS)
    assert template is None
    assert {(fault.step, fault.key) for fault in faults} == {
        (None, "name"),
        (None, "namespace_name"),
        (None, "version"),
        (None, "input_schema.type"),
        ("a", "dependencies[1]"),
        ("a", "dependencies"),
        ("a", "retry.backoff"),
        ("a", "timeout_seconds"),
        ("b", "publishes_events[0].name"),
        ("b", "publishes_events[0].delivery_mode"),
        ("b", "name"),
        ("b", "handler"),
    }
    assert len(faults) == 12


HEAD = "name: t\nnamespace_name: n\nversion: v\n"
STEP = "  - name: a\n    handler: {callable: x}\n"


@pytest.mark.parametrize(
    ("text", "step", "key", "words"),
    [
        ("dependencies: [a]", "a", "dependencies[0]", "depends on itself"),
        ("dependencies: [bb]", "a", "dependencies[0]", "no step 'bb' (did you mean 'b'?)"),
        ("dependencies: [b, b]", "a", "dependencies[1]", "listed twice"),
        ("dependencies: b", "a", "dependencies", "must be a list"),
        ("dependencies: [3]", "a", "dependencies[0]", "must be text"),
        ("depends_on: [b]\n    dependencies: [b]", "a", "dependencies", "two names"),
        ("type: standart", "a", "type", "did you mean 'standard'"),
        ("type: 3", "a", "type", "must be text, not 3"),
        ("retry: {retryable: no}", "a", "retry.retryable", "must be true or false, not 'no'"),
        ("retry: {max_attempts: -1}", "a", "retry.max_attempts", "at least 0, not -1"),
        ("retry: {max_attempts: 10001}", "a", "retry.max_attempts", "at most 10000"),
        ("retry: {max_attempts: two}", "a", "retry.max_attempts", "must be a whole number, not 'two'"),
        ("retry: {max_attempts: 1.5}", "a", "retry.max_attempts", "must be a whole number"),
        ("retry: {backoff_base_ms: -5}", "a", "retry.backoff_base_ms", "at least 0"),
        ("retry: {max_backoff_ms: 86400001}", "a", "retry.max_backoff_ms", "at most 86400000"),
        ("retry: {backoff_base_ms: 10, max_backoff_ms: 5}", "a", "retry.backoff_base_ms", "more than max_backoff_ms"),
        ("retry: [1]", "a", "retry", "must be a mapping, not a list"),
        ("timeout_seconds: 0", "a", "timeout_seconds", "greater than 0"),
        ("timeout_seconds: 604801", "a", "timeout_seconds", "at most 604800"),
        ("timeout_seconds: soon", "a", "timeout_seconds", "must be a number"),
        ("timeout_seconds: true", "a", "timeout_seconds", "must be a number"),
        ("publishes_events: [{name: a}]", "a", "publishes_events[0].name", "two or more segments"),
        ("publishes_events: [{name: a.b, condition: sucess}]", "a", "publishes_events[0].condition", "'success'?"),
        ("publishes_events: [{name: a.b, schema: true}]", "a", "publishes_events[0].schema", "must be a mapping"),
        ("publishes_events: [{name: a.b, schema: {type: 3}}]", "a", "publishes_events[0].schema.type", "JSON Schema"),
        ("publishes_events: [{name: a.b, publisher: ''}]", "a", "publishes_events[0].publisher", "must not be empty"),
        ("publishes_events: [{name: a.b}, {name: a.b, condition: success, publisher: default}]", "a",
         "publishes_events[1]", "published twice"),
        ("result_schema: {minimum: x}", "a", "result_schema.minimum", "JSON Schema"),
        ("batch_config: {batch_size: 0, worker_template: b}", "a", "batch_config.batch_size", "at least 1"),
        ("batch_config: {batch_size: 5}", "a", "batch_config.worker_template", "is missing"),
    ],
)  # fmt: skip
def test_one_fault_in_a_step(text, step, key, words):
    template, faults = parse(f"{HEAD}steps:\n{STEP}    {text}\n  - name: b\n    handler: {{callable: x}}\n")
    assert template is None
    (fault,) = faults
    assert (fault.step, fault.key, fault.severity) == (step, key, "error")
    assert words in fault.message


def test_events_that_differ_in_one_thing_are_not_the_same_event():
    events = (
        "[{name: a.b}, {name: a.b, condition: failure}, {name: a.b, delivery_mode: fast}, {name: a.b, publisher: P}]"
    )
    template, faults = parse(MINIMAL + f"    publishes_events: {events}\n")
    assert faults == []
    assert len(template.steps[0].publishes_events) == 4


def test_cycles_are_named_each_once():
    step = "  - {{name: {0}, handler: {{callable: x}}, dependencies: [{1}]}}\n"
    steps = "".join(step.format(*pair) for pair in ("ab", "bc", "ca", "de", "ed", "fa"))
    _, faults = parse(f"{HEAD}steps:\n{steps}")
    assert [fault.message for fault in faults] == [
        "the steps wait for each other: a -> b -> c -> a",
        "the steps wait for each other: d -> e -> d",
    ]


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("", "", "a template is a mapping"),
        ("[1, 2]", "", "a template is a mapping"),
        ("a: [", "", "invalid YAML"),
        ("{}", "steps", "is missing"),
        (MINIMAL.replace("1.0.0", "''"), "version", "must not be empty"),
        (MINIMAL.replace("1.0.0", "1.0"), "version", "must be text, not 1.0: put it in quotes"),
        (MINIMAL.replace("name: order", "name: order\nname: other"), "name", "line 3: key 'name' is written twice"),
        (MINIMAL.split("steps", maxsplit=1)[0] + "steps: []", "steps", "must have from 1 to 2000 entries, not 0"),
        (MINIMAL.split("steps", maxsplit=1)[0] + "steps: [x]", "steps[0]", "must be a mapping, not 'x'"),
        (MINIMAL.replace("charge\n", "ALL\n"), "name", "means every step"),
        (MINIMAL + "domain_events: [{name: a.b}, {name: a.b}]", "domain_events[1].name", "domain_events[0] too"),
        (MINIMAL + "lifecycle: {max_duration_minutes: 0}", "lifecycle.max_duration_minutes", "at least 1"),
        (MINIMAL + "    lifecycle: {max_duration_minutes: 0}", "lifecycle.max_duration_minutes", "at least 1"),
        (MINIMAL + "identity_strategy: strikt", "identity_strategy", "did you mean 'strict'"),
        (MINIMAL + "metadata: {a: .nan}", "metadata.a", "no number in JSON"),
    ],
)
def test_one_fault_in_a_file(text, key, words):
    template, faults = parse(text)
    assert template is None
    assert any(fault.key == key and words in fault.message for fault in faults), faults


def test_unknown_keys_are_warnings_with_the_nearest_known_key():
    template, faults = parse(MINIMAL + "    retri: 3\n    retry: {limits: 3}\ndescripton: x\n")
    assert template is not None
    assert [(fault.step, fault.key, fault.message, fault.severity) for fault in faults] == [
        ("charge", "retri", "unknown key (did you mean 'retry'?)", "warning"),
        ("charge", "retry.limits", "unknown key (did you mean 'limit'?)", "warning"),
        (None, "descripton", "unknown key (did you mean 'description'?)", "warning"),
    ]


NO_EFFECT = """
    batch_config: {worker_template: work, parallelism: 5}
    lifecycle: {max_duration_minutes: 5}
  - {name: plain, handler: {callable: shop.plain}, lifecycle: null}
  - name: work
    type: batch_worker
    handler: {callable: shop.work}
    dependencies: [charge]
    batch_config: {worker_template: work, parallelism: null}
lifecycle: {max_duration_minutes: 5}
environments:
  test: {steps: [{name: work, batch_config: {parallelism: 2}}, {name: charge, batch_config: {parallelism: 9}}]}
"""


def test_bounds_that_nobody_keeps_are_noted_and_say_what_does():
    template, faults = parse(
        MINIMAL.replace("callable: shop.charge}", "callable: shop.charge}\n    type: batchable") + NO_EFFECT
    )
    assert template is not None
    assert [(fault.file, fault.step, fault.key, fault.severity) for fault in faults] == [
        ("t.yaml", "charge", "batch_config.parallelism", "notice"),
        ("t.yaml", "charge", "lifecycle", "notice"),
        ("t.yaml", "work", "batch_config.parallelism", "notice"),
    ]
    assert faults[0].message.startswith("has no effect: say in limits of the batch_worker")
    assert faults[1].message.startswith("has no effect on a step: only the template's own lifecycle counts")
    assert faults[2].message.endswith("(in environment test)")
    assert settle(faults, strict=True) == faults
