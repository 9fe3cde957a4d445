"""Whole tasks, from the seat of somebody who tests a template."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from copy import deepcopy
from unittest.mock import AsyncMock, Mock

import pytest
from support.payment import CODE, DEPARTURE, PAYMENT, Charge, Payments, Refusals, on_everything, receipt, stamp

from tasker_actors import PermanentError, RetryableError, StepHandlerResult
from tasker_actors.errors import HandlerNotFoundError, TemplateError
from tasker_actors.events.outgoing import PublisherError
from tasker_actors.example import flights
from tasker_actors.testing import (
    ContextRefusedError,
    Kit,
    KitError,
    ManualClock,
    outcomes,
    run_template,
    start_template,
)
from tasker_actors.workflow.load import load_templates

PAID = {"amount": 5}
TAKEN = {"status": "taken", "currency": "EUR"}


def payment(**changed):
    """Run the payment with its own code."""
    return run_template(PAYMENT, PAID, **{"handlers": CODE, **changed})


def test_the_worked_example_runs_to_its_end_with_its_events(delayed):
    task = run_template(DEPARTURE, delayed, handlers=flights)

    assert task.status == "complete"
    assert task.is_over
    assert {name: step.state.value for name, step in task.steps.items()} == dict.fromkeys(task.steps, "complete")
    assert task.event_names == ["flight.validated", "weather.observed", "flight.departed", "flight.delayed"]
    assert [event.name for event in task.durable_queue] == ["flight.departed", "flight.delayed"]
    assert task.result("assess_delay")["dep_delay"] == delayed["dep_delay"]
    assert [event.payload["carrier"] for event in task.received("DelaysByCarrier")] == [delayed["carrier"]]
    assert task.summary.completion_percentage == 100.0
    task.assert_no_surprises()
    task.raise_for_failure()


def test_a_failure_for_good_blocks_what_is_below_and_nothing_else(delayed):
    task = run_template(str(DEPARTURE), delayed, handlers="tasker_actors.example.flights", replace={
        "fetch_weather": PermanentError("no weather", error_code="NO_WEATHER"),
    })  # fmt: skip

    assert task.status == "error"
    assert {name: step.state.value for name, step in task.steps.items()} == {
        "validate_flight": "complete",
        "fetch_weather": "error",
        "lookup_aircraft": "complete",
        "assess_delay": "pending",
    }
    assert task.step("assess_delay").blocked
    assert task.step("fetch_weather").failure.error_code == "NO_WEATHER"
    assert task.step("assess_delay").failure is None
    assert task.result("assess_delay") is None
    assert (task.summary.failed_steps, task.summary.health_status) == (1, "blocked")
    with pytest.raises(PermanentError, match="no weather"):
        task.raise_for_failure()


def test_retries_run_at_once_and_their_delays_are_those_of_the_template(kit):
    charge = outcomes(
        RetryableError("down"), ValueError("odd"), RetryableError("again"), {"status": "x", "currency": "y"}
    )
    task = payment(replace={"charge": charge}, kit=kit)

    assert task.status == "complete"
    assert task.step("charge").delays_ms == [1000, 2000, 3000]
    assert kit.clock.elapsed_s == 6.0
    assert [context.retry_count for context in charge.contexts] == [0, 1, 2, 3]
    assert [str(each.exception) for each in task.step("charge").attempt_runs[:3]] == ["down", "odd", "again"]
    # What can run meanwhile runs before the retry is due.
    assert [each.step_name for each in task.attempts] == ["charge", "stamp", "charge", "charge", "charge", "receipt"]
    assert [event.name for event in task.step("charge").events] == ["payment.retried"] * 3 + ["payment.charged"]


def test_the_last_attempt_fails_the_step_and_a_failure_may_ask_for_its_own_delay():
    refusals = Refusals()
    code = [Charge, stamp, receipt, refusals]
    task = payment(handlers=code, replace={"charge": StepHandlerResult.failure("busy", "busy", retry_after=60)})

    assert task.step("charge").delays_ms == [60_000] * 3
    assert (task.status, task.step("charge").attempts) == ("error", 4)
    assert task.event_names == ["payment.retried"] * 3 + ["payment.refused"]
    assert task.events[-1].metadata["custom"] == {"attempts": 4}
    assert refusals.told == [("payment.refused", "busy", {"attempts": 4})]
    assert task.events[-1].publisher == "shop.refusals"
    with pytest.raises(KitError, match="step 'charge' failed in attempt 4: busy: busy"):
        task.raise_for_failure()


def test_jitter_is_chance_that_can_be_repeated():
    def delays(seed):
        kit = Kit(random=random.Random(seed).random)  # noqa: S311 - it is to be repeated
        return payment(replace={"charge": RetryableError("down")}, kit=kit).step("charge").delays_ms

    assert delays(1) == delays(1) != delays(2)
    assert all(850 <= delay <= 3450 for delay in delays(1))


def test_everything_is_the_same_in_every_run_and_ids_follow_from_the_seed():
    def facts(seed):
        task = payment(kit=Kit(seed=seed), replace={"charge": outcomes(RetryableError("x"), TAKEN)})
        spans = [(span.name, span.span_id, span.start_ns) for root in task.spans for span in root.walk()]
        return task.task_uuid, [event.event.to_dict() for event in task.events], spans

    assert facts(1) == facts(1)
    assert facts(1)[0] != facts(2)[0]


def test_spans_are_the_tree_that_operators_see(delayed):
    task = run_template(DEPARTURE, delayed, handlers=flights)

    (root,) = task.spans
    assert (root.name, root.parent_id, root.error) == ("task_execution", None, None)
    assert {child.name for child in root.children} == {"step_execution", "result_submission"}
    last = root.children[-2]
    assert last.outline().split("\n") == [
        "step_execution",
        "  handler_call",
        "  publish_domain_event",
        "    route_event",
        "      publish_durable",
        "    record_metrics",
        "  publish_domain_event",
        "    route_event",
        "      publish_durable",
        "      publish_fast",
        "    record_metrics",
    ]
    assert {span.attributes["correlation_id"] for span in root.walk()} == {task.correlation_id}
    assert len({span.trace_id for span in root.walk()}) == 1
    assert last.attributes["step_name"] == "assess_delay"
    assert last.attributes["attempt"] == 1
    fast = next(span for span in last.walk() if span.name == "publish_fast")
    assert fast.attributes["subscriber_count"] == 1
    header = task.durable_queue[0].headers["traceparent"]
    assert header.split("-")[1] == root.trace_id
    assert header.split("-")[2] in {span.span_id for span in root.walk() if span.name == "publish_durable"}


def test_spans_of_a_failure_say_so_and_attempts_of_a_task_on_its_way_have_no_parent_yet():
    task = start_template(PAYMENT, PAID, handlers=CODE, replace={"charge": PermanentError("no")})
    task.run_next()

    attempt, submission = task.spans
    assert (attempt.name, attempt.error, submission.name) == ("step_execution", "no", "result_submission")
    assert attempt.parent_id == submission.parent_id
    assert task.run().spans[0].error == "step stamp: one of its steps failed for good"


def test_a_task_can_be_run_attempt_by_attempt_and_cancelled_in_between():
    task = start_template(PAYMENT, PAID, handlers=CODE)

    assert (task.status, task.attempts) == ("pending", [])
    first = task.run_next()
    assert (first.step_name, first.succeeded) == ("charge", True)
    assert (task.status, task.summary.ready_steps) == ("in_progress", 1)
    assert task.cancel()
    assert not task.cancel()
    assert task.run_next() is None
    assert task.run() is task
    assert [step.state.value for step in task.steps.values()] == ["complete", "cancelled", "cancelled"]
    assert task.summary.status == task.status == "cancelled"
    assert repr(task) == "TaskRun(payment, cancelled, charge: complete, stamp: cancelled, receipt: cancelled)"


def test_a_retry_that_waits_is_shown_as_such_until_it_is_due():
    task = start_template(PAYMENT, PAID, handlers=CODE, replace={"charge": RetryableError("down")})
    task.run_next()
    task.run_next()

    assert (task.summary.status, task.summary.ready_steps) == ("waiting_for_retry", 0)
    task.kit.clock.advance(1)
    assert task.summary.ready_steps == 1


def test_what_stands_for_a_handler_may_be_nearly_anything():
    def by_context(context):
        return {"status": context.handler_name, "currency": "any"}

    class Other(Charge):
        handler_name = "other.charge"

    for stand_in, status in (
        (by_context, "shop.charge"),
        (lambda context: {"status": context.step_name, "currency": 1}, "charge"),
        (Other, "paid"),
        (Charge(gateway=lambda amount: f"{amount} taken"), "5 taken"),
        (Mock(return_value={"status": "mocked", "currency": 1}), "mocked"),
        (AsyncMock(return_value={"status": "awaited", "currency": 1}), "awaited"),
        ({"status": "fixed", "currency": 1}, "fixed"),
        (outcomes(by_context), "shop.charge"),
        (outcomes(Charge), "paid"),
        (outcomes(AsyncMock(return_value={"status": "later", "currency": 1})), "later"),
        (outcomes(StepHandlerResult.success({"status": "said", "currency": 1})), "said"),
    ):
        task = payment(replace={"charge": stand_in})
        assert task.result("charge")["status"] == status, stand_in
        assert task.status == "complete"
    task = payment(replace={"charge": Other})
    assert (task.result("charge")["currency"], task.events[0].metadata["fired_by"]) == ("EUR", "other.charge")


def test_handlers_may_be_given_by_what_the_template_names(delayed):
    task = run_template(
        DEPARTURE, delayed, handlers=[flights, {"flights.fetch_weather": {"visib": 1, "wind_speed": 2}}]
    )

    assert task.result("assess_delay")["visibility_miles"] == 1
    kinds = {"shop.charge": Charge, "shop.stamp": {"number": 1}, "shop.receipt": receipt}
    assert run_template(PAYMENT, PAID, handlers=[kinds, Refusals]).result("receipt")["text"] == "5 EUR paid"


def test_objects_of_handlers_publishers_and_subscribers_keep_what_a_test_wants_to_see():
    payments = Payments()
    task = payment(handlers=[Charge(lambda amount: "fake"), stamp, receipt, Refusals(), payments, on_everything])

    assert task.result("charge")["status"] == "fake"
    assert payments.seen == ["payment.charged"]
    assert [event.event_name for event in task.received("on_everything")] == ["payment.charged"]
    assert [event.event_name for event in task.received(f"{Payments.__module__}.Payments")] == ["payment.charged"]


def test_dead_letters_failing_subscribers_and_hooks_are_surprises_and_fail_nothing(kit):
    class Failing(Payments):
        def handle(self, event):
            raise ValueError("subscriber")

    class Raising(Refusals):
        def after_publish(self, event_name, payload, metadata):
            raise SystemExit("hook")

        def on_publish_error(self, event_name, error, payload):
            raise ValueError("hook of a refusal")

    code = [Charge, stamp, receipt, Raising, Failing]
    task = payment(handlers=code, replace={"receipt": {"wrong": 1}}, kit=kit)

    assert task.status == "complete"
    (letter,) = task.dead_letters
    assert (letter.name, letter.code, letter.path) == ("receipt.sent", "schema_violation", "/number")
    assert letter.document["payload"] == {"wrong": 1}
    assert "receipt.sent" not in task.event_names
    assert [(each.event.event_name, str(each.error)) for each in task.deliveries] == [("payment.charged", "subscriber")]
    assert len(task.surprises) == 2
    with pytest.raises(AssertionError, match=r"receipt.sent is a dead letter, schema_violation"):
        task.assert_no_surprises()
    refused = payment(handlers=code, replace={"charge": PermanentError("no")}, kit=kit)
    assert [(each.publisher, each.event_name) for each in refused.hook_failures] == [
        ("shop.refusals", "payment.refused")
    ]
    assert kit.surprises() == task.surprises + refused.surprises
    assert len(refused.surprises) == 1


def test_a_hook_that_raises_before_the_commit_makes_a_dead_letter():
    class Raising(Refusals):
        def should_publish(self, context):
            raise ValueError("no idea")

    task = payment(handlers=[Charge, stamp, receipt, Raising], replace={"charge": PermanentError("no")})

    assert [letter.code for letter in task.dead_letters] == ["publisher_error"]


def test_outcomes_that_nobody_came_to_are_a_surprise_and_one_too_few_ends_the_run():
    task = start_template(PAYMENT, PAID, handlers=CODE, replace={"charge": outcomes(TAKEN, {})})
    assert task.surprises == []
    assert task.run().surprises == ["charge: 1 of its outcomes were never come to"]

    with pytest.raises(KitError, match=r"step 'charge' has a call no\. 2, and outcomes\(\) names 1"):
        payment(replace={"charge": outcomes(RetryableError("down"))})
    with pytest.raises(KitError, match="an outcome for each attempt"):
        outcomes()
    assert repr(outcomes({}, 1)) == "outcomes({}, 1)"


def test_async_and_other_outcomes_may_follow_each_other():
    async def works(context):
        return TAKEN

    task = payment(replace={"charge": outcomes(RetryableError("down"), works)})
    assert [each.succeeded for each in task.step("charge").attempt_runs] == [False, True]


@pytest.mark.parametrize("place", ["handler", "subscriber", "hook"])
def test_what_is_meant_for_the_test_ends_it(place):
    class Strict(Payments):
        def handle(self, event):
            pytest.fail("nobody should hear of this")

    class Checking(Refusals):
        def before_publish(self, event_name, payload, metadata):
            pytest.fail("nobody should publish this")

        after_publish = before_publish

    code = [Charge, stamp, receipt, Strict if place == "subscriber" else Payments, Checking]
    failing = {"handler": lambda context: pytest.fail("nobody should call this"), "hook": PermanentError("no")}
    with pytest.raises(pytest.fail.Exception, match="nobody should"):
        payment(handlers=code, replace={"charge": failing[place]} if place in failing else {})


def test_what_is_meant_for_the_test_ends_it_after_the_commit_too():
    class Checking(Refusals):
        def after_publish(self, event_name, payload, metadata):
            pytest.fail("nobody should publish this")

    with pytest.raises(pytest.fail.Exception, match="nobody should"):
        payment(handlers=[Charge, stamp, receipt, Checking], replace={"charge": PermanentError("no")})


def test_log_lines_have_the_ids_of_their_attempt(caplog):
    with caplog.at_level("INFO", "tasker_actors.handler"):
        task = payment()

    (line,) = task.logs
    assert (line.level, line.event, line.fields["amount"], line.fields["step_name"]) == (
        "info",
        "charging",
        5,
        "charge",
    )
    assert line.fields["task_uuid"] == task.task_uuid
    assert [record.message for record in caplog.records] == ["charging {'amount': 5}"]


def test_ids_of_a_caller_are_in_every_event():
    task = payment(correlation_id="given", parent_correlation_id="parent")

    assert {event.metadata["correlation_id"] for event in task.events} == {"given"}
    assert {event.metadata["parent_correlation_id"] for event in task.events} == {"parent"}


def test_time_and_environment_are_the_tests_own(tmp_path):
    template = deepcopy(PAYMENT)
    template["environments"] = {"production": {"steps": [{"name": "charge", "timeout_seconds": 3}]}}
    seen = []
    run_template(
        template,
        PAID,
        handlers=CODE,
        environment="production",
        replace={"charge": lambda context: seen.append(context.remaining_ms()) or {"status": 1, "currency": 1}},
    )
    assert seen == [3000.0]


def test_a_context_that_the_template_refuses_creates_nothing():
    with pytest.raises(ContextRefusedError, match=r"payment refuses the context: /amount .*integer"):
        run_template(PAYMENT, {"amount": "five"}, handlers=CODE)
    with pytest.raises(ContextRefusedError, match="amount"):
        run_template(PAYMENT, handlers=CODE)
    with pytest.raises(KitError, match="context is no JSON"):
        run_template(PAYMENT, {"amount": object()}, handlers=CODE)


def test_all_that_is_missing_from_the_code_is_told_before_anything_runs():
    with pytest.raises(TemplateError) as raised:
        run_template(PAYMENT, PAID, handlers=[stamp])
    said = str(raised.value)
    assert "step charge: handler.callable: there is no handler 'shop.charge'" in said
    assert "step receipt: handler.callable" in said
    assert "no publisher 'shop.refusals' was found" in said
    with pytest.raises(TemplateError, match=r"there is no handler 'shop.stamp'"):
        run_template(PAYMENT, PAID, handlers=[Charge, receipt, Refusals])


def test_what_is_wrong_with_a_template_is_told_as_for_a_file(tmp_path):
    broken = deepcopy(PAYMENT)
    broken["steps"][2]["dependencies"] = ["charg"]
    with pytest.raises(TemplateError, match=r"step receipt: dependencies.*did you mean 'charge'"):
        run_template(broken, PAID, handlers=CODE)
    with pytest.raises(KitError, match=r"has 0 templates \(none\)"):
        run_template(tmp_path, PAID)
    with pytest.raises(TemplateError, match="cannot be read"):
        run_template(tmp_path / "none.yaml", PAID)


def test_a_directory_of_one_template_and_a_template_that_was_loaded_will_do(delayed):
    assert run_template(DEPARTURE.parent, delayed, handlers=flights).status == "complete"
    (template,) = load_templates([DEPARTURE], environment="test", strict=True).templates
    assert run_template(template, delayed, handlers=flights).status == "complete"


def test_names_that_do_not_exist_are_told_with_the_nearest():
    with pytest.raises(KitError, match=r"replace names 'chrage', which is no step of payment \(did you mean 'charge'"):
        payment(replace={"chrage": {}})
    task = payment()
    with pytest.raises(KitError, match=r"payment has no step 'recipt' \(did you mean 'receipt'"):
        task.result("recipt")
    with pytest.raises(KitError, match="there is no subscriber 'Payment'"):
        task.received("Payment")


def test_what_is_no_code_is_told():
    class Nameless(Charge):
        handler_name = ""

    with pytest.raises(KitError, match="3 is no handler, publisher or subscriber: give a module"):
        payment(handlers=[3])
    with pytest.raises(KitError, match=r"Nameless has no handler_name.*: Nameless\}"):
        payment(handlers=[Nameless])
    with pytest.raises(PublisherError, match=r"'shop.refusals' is given twice"):
        payment(handlers=[*CODE, Refusals()])
    with pytest.raises(HandlerNotFoundError, match="nothing fills parameter 'x'"):
        payment(replace={"charge": lambda x: {}})


def test_a_clock_can_be_given_and_is_shared_by_the_tasks_of_a_kit():
    kit = Kit(clock=ManualClock(), seed=3)
    first = payment(kit=kit, replace={"charge": outcomes(RetryableError("x"), TAKEN)})
    second = payment(kit=kit)

    assert kit.tasks == [first, second]
    assert first.task_uuid < second.task_uuid
    assert second.attempts[0].began_at == first.attempts[-1].began_at == kit.clock.now()


def test_the_kit_loads_neither_a_database_nor_an_actor_nor_pytest():
    code = (
        "import sys, tasker_actors.testing; "
        "print(sorted({'psycopg', 'pykka', 'pytest', 'fastapi', 'structlog', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_async_subscribers_are_awaited_on_the_clock_in_a_running_loop_too(kit, clock):
    class Slow(Payments):
        async def handle(self, event):
            await asyncio.sleep(5)
            self.seen.append(event.event_name)
            if event.payload["status"] == "bad":
                raise ValueError("slow and bad")

    slow = Slow()
    code = [Charge, stamp, receipt, Refusals, slow]

    async def test():
        bad = {"charge": {**TAKEN, "status": "bad"}}
        return payment(handlers=code, kit=kit), payment(handlers=code, kit=kit, replace=bad)

    good, bad = asyncio.run(test())
    assert slow.seen == ["payment.charged"] * 2
    assert clock.elapsed_s == 10
    assert good.surprises == []
    assert [str(each.error) for each in bad.deliveries] == ["slow and bad"]


def test_a_hook_that_is_interrupted_costs_its_event():
    class Interrupted(Refusals):
        def should_publish(self, context):
            raise asyncio.CancelledError

    task = payment(handlers=[Charge, stamp, receipt, Interrupted], replace={"charge": PermanentError("no")})

    assert [(letter.name, letter.code) for letter in task.dead_letters] == [("payment.refused", "publisher_error")]
