"""One attempt: of a handler by itself, or of a step of a template."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from support.payment import DEPARTURE, PAYMENT, Charge, Refusals, receipt, stamp

from tasker_actors import BasePublisher, PermanentError, RetryableError, StepHandler, step_handler
from tasker_actors.errors import HandlerNotFoundError, TemplateError
from tasker_actors.example import flights
from tasker_actors.testing import Kit, KitError, ManualClock, outcomes, run_handler, run_step

DONE = [{"name": "a.done"}, {"name": "a.failed", "condition": "retryable_failure", "delivery_mode": "fast"}]


@step_handler("a.counts")
def counts(context):
    """Say what the attempt is."""
    context.publish("a.counted", {"n": context.retry_count}, delivery="durable", when="always")
    context.publish("a.never", {}, when="failure")
    return {"retry": context.retry_count, "last": context.is_last_retry(), "results": context.dependency_results}


def test_a_class_an_object_a_function_and_an_import_path_are_handlers(delayed):
    assert run_handler(Charge, {"amount": 5}, config={"currency": "EUR"}).result == {
        "status": "paid",
        "currency": "EUR",
    }
    assert run_handler(Charge(lambda amount: amount + 1), {"amount": 5}).result["status"] == 6
    assert run_handler(counts).result == {"retry": 0, "last": False, "results": {}}
    assert run_handler("tasker_actors.example.flights.ValidateFlight", delayed).succeeded
    assert run_handler(lambda context: context.get_input("a"), {"a": 1}).result == {"result": 1}
    done = run_handler(
        receipt, {"amount": 1}, dependency_results={"charge": {"currency": "EUR", "status": "ok"}, "stamp": {}}
    )
    assert done.result == {"text": "1 EUR ok"}


def test_a_later_attempt_knows_that_it_is_one_and_the_last_that_it_is_the_last():
    second = run_handler(counts, attempt=2)
    assert (second.result["retry"], second.result["last"]) == (1, False)
    assert run_handler(counts, attempt=5, retry={"max_attempts": 5}).result["last"]
    with pytest.raises(KitError, match="attempt 4 cannot be: the step has attempts 1 to 3"):
        run_handler(counts, attempt=4)


def test_events_are_those_whose_conditions_fit_the_outcome():
    done = run_handler(counts, publishes_events=DONE)
    assert [(event.name, event.delivery_mode.value) for event in done.events] == [
        ("a.done", "durable"),
        ("a.counted", "durable"),
    ]
    assert done.events[0].headers["event_name"] == "a.done"
    assert done.events[1].payload == {"n": 0}
    again = run_handler(outcomes(RetryableError("no")), publishes_events=DONE)
    assert [event.name for event in again.events] == ["a.failed"]
    assert (again.state, again.delay_ms, again.events[0].headers) == ("waiting_for_retry", 1000, None)
    last = run_handler(outcomes(RetryableError("no")), publishes_events=DONE, attempt=3)
    assert (last.state, last.delay_ms, last.event_names) == ("error", 0, [])
    assert repr(again.events[0]).startswith("PublishedEvent('a.failed', fast, {")


def test_a_publisher_of_ones_own_has_its_say():
    refused = [{"name": "a.refused", "condition": "failure", "publisher": "shop.refusals"}]
    failed = run_handler(outcomes(PermanentError("no")), publishes_events=refused, publishers=Refusals)

    assert failed.events[0].metadata["custom"] == {"attempts": 1}
    with pytest.raises(TemplateError, match="no publisher"):
        run_handler(counts, publishes_events=refused)


def test_async_hooks_have_the_limit_of_a_worker_on_the_clock(kit):
    class Slow(BasePublisher):
        publisher_name = "slow"

        async def should_publish(self, context):
            await asyncio.sleep(context.input_data["seconds"])
            return True

        async def before_publish(self, event_name, payload, metadata):
            await asyncio.sleep(payload["seconds"])
            return True

    @step_handler("a.waits")
    def waits(context):
        return {"seconds": context.get_input("seconds")}

    def run(seconds):
        events = [{"name": "a.slow", "publisher": "slow"}, {"name": "a.plain"}]
        return run_handler(waits, {"seconds": seconds}, publishes_events=events, publishers=Slow, kit=kit)

    assert run(2).event_names == ["a.slow", "a.plain"]
    assert kit.clock.elapsed_s == 4
    late = run(3)
    assert (late.event_names, [letter.name for letter in late.dead_letters]) == (["a.plain"], ["a.slow"])
    assert kit.clock.elapsed_s == 9


def test_a_failure_says_all_about_itself():
    error = PermanentError("no", error_code="NO", metadata={"why": "because"})
    failed = run_handler(outcomes(error))

    assert not failed.succeeded
    assert (failed.error_type, failed.failure.error_code, failed.failure.metadata) == (
        "permanent_error",
        "NO",
        {"why": "because"},
    )
    assert (failed.exception, failed.result) == (error, None)
    with pytest.raises(PermanentError, match="no"):
        failed.raise_for_failure()
    done = run_handler(counts)
    assert (done.failure, done.error_type, done.exception) == (None, None, None)
    done.raise_for_failure()


def test_a_result_that_is_no_json_fails_for_good():
    failed = run_handler(lambda context: {"when": float("nan")})

    assert (failed.state, failed.error_type, failed.exception) == ("error", "invalid_result", None)


def test_a_handler_hears_that_its_task_was_cancelled():
    flag = threading.Event()

    def handler(context):
        before = context.cancelled
        flag.set()
        return {"before": before, "after": context.cancelled}

    assert run_handler(handler, cancelled=flag).result == {"before": False, "after": True}
    assert run_handler(handler, cancelled=True).result == {"before": True, "after": True}


def test_a_method_of_a_class_can_be_run():
    class Several(StepHandler):
        handler_name = "a.several"

        def call(self, context):
            return {}

        def other(self, context):
            return {"method": "other"}

    assert run_handler(Several, method="other").result == {"method": "other"}
    assert run_handler(Several(), method="other").result == {"method": "other"}
    with pytest.raises(TemplateError, match="no method 'none'"):
        run_handler("support.payment.Charge", method="none")
    with pytest.raises(HandlerNotFoundError, match="no method 'none'"):
        run_handler(Several, method="none")
    with pytest.raises(KitError, match="no class of a handler"):
        run_handler(outcomes({}), method="other")


def test_time_limits_need_no_waiting(clock, kit, monkeypatch):
    cleaned = []
    user_module = SimpleNamespace(pause=time.sleep)

    def sleeps(context):
        try:
            user_module.pause(59.0)
            left = context.remaining_ms()
            user_module.pause(2.0)
        finally:
            cleaned.append(left)

    monkeypatch.setattr(user_module, "pause", clock.sleep)
    failed = run_handler(sleeps, timeout_seconds=60, kit=kit)

    assert (failed.error_type, failed.state, cleaned) == ("timeout", "waiting_for_retry", [1000.0])
    assert failed.duration_ms == 61_000
    assert failed.failure.message == "the handler did not return within its time limit of 60 s"


def test_a_handler_that_swallows_its_end_is_not_interrupted_twice(clock, kit):
    def stubborn(context):
        try:
            clock.advance(31)
        except BaseException:  # noqa: BLE001 - what must not be done, and is
            clock.advance(31)
        return {}

    assert run_handler(stubborn, kit=kit).succeeded


def test_a_handler_that_looks_at_the_time_stops_by_itself():
    def works_in_portions(context):
        portions = 0
        while context.remaining_ms() > 3000:
            portions += 1
        return {"portions": portions, "deadline": context.deadline.isoformat()}

    done = run_handler(works_in_portions, timeout_seconds=10, kit=Kit(clock=ManualClock(tick_s=1)))

    assert done.result == {"portions": 6, "deadline": "2026-01-01T00:00:10+00:00"}


def test_async_handlers_sleep_at_once_and_are_cancelled_at_their_limit(clock, kit):
    async def naps(context):
        await asyncio.sleep(context.get_input("seconds"))
        return {"slept": clock.elapsed_s}

    done = run_handler(naps, {"seconds": 29}, kit=kit)
    assert (done.result, done.duration_ms) == ({"slept": 29.0}, 29_000)
    late = run_handler(naps, {"seconds": 31}, kit=kit)
    assert (late.error_type, clock.elapsed_s) == ("timeout", 59.0)


def test_time_stands_still_while_an_async_handler_waits_for_a_thread_or_for_a_socket(clock, kit):
    async def waits(context):
        busy = asyncio.to_thread(lambda: (sum(range(2_000_000)), threading.current_thread().name)[1])
        answer = await asyncio.wait_for(busy, 5)
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
        return {"answer": answer.partition("_")[0]}

    done = run_handler(waits, kit=kit)
    assert done.result == {"answer": "asyncio"}
    assert clock.elapsed_s == 0.0


def test_the_kit_works_in_a_test_that_runs_on_an_event_loop():
    async def naps(context):
        await asyncio.sleep(1)
        if context.get_input("fails"):
            pytest.fail("for the test")
        return {}

    async def test():
        assert run_handler(naps).duration_ms == 1000
        with pytest.raises(pytest.fail.Exception):
            run_handler(naps, {"fails": True})

    asyncio.run(test())


def test_a_coroutine_may_raise_what_it_likes():
    async def exits(context):
        raise SystemExit(3)

    failed = run_handler(exits)
    assert (failed.error_type, failed.failure.message) == ("handler_error", "handler called sys.exit()")


def test_a_step_of_a_template_has_its_configuration_limit_retry_and_events(delayed):
    results = {"fetch_weather": {"visib": 1, "wind_speed": 2}, "lookup_aircraft": {"model": "A"}}
    done = run_step(DEPARTURE, "assess_delay", delayed, dependency_results=results, handlers=flights)
    assert done.event_names == ["flight.departed", "flight.delayed"]
    charged = run_step(PAYMENT, "charge", {"amount": 1}, attempt=4, handlers=[Charge, Refusals])
    assert charged.result["currency"] == "EUR"


def test_a_step_is_given_what_it_can_have():
    given = {"handlers": [receipt, stamp, Charge, Refusals]}
    with pytest.raises(KitError, match=r"payment has no step 'recipt' \(did you mean 'receipt'"):
        run_step(PAYMENT, "recipt", {"amount": 1}, **given)
    with pytest.raises(KitError, match=r"step 'receipt' does not depend on 'chagre' \(did you mean 'charge'"):
        run_step(PAYMENT, "receipt", {"amount": 1}, dependency_results={"chagre": {}}, **given)
    with pytest.raises(KitError, match="dependency_results is no JSON"):
        run_step(PAYMENT, "receipt", {"amount": 1}, dependency_results={"charge": object()}, **given)


def test_what_no_template_may_say_is_refused():
    with pytest.raises(TemplateError, match="backoff"):
        run_handler(counts, retry={"backoff": "sometimes"})
    with pytest.raises(TemplateError, match="timeout_seconds"):
        run_handler(counts, timeout_seconds=-1)


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_the_clock_does_not_go_back(wrong, clock):
    with pytest.raises(KitError, match="time does not go back"):
        clock.advance(wrong)


def test_the_clock_needs_a_time_zone_to_start():
    with pytest.raises(KitError, match="time zone"):
        ManualClock(ManualClock().now().replace(tzinfo=None))
    assert repr(ManualClock()) == "ManualClock(2026-01-01T00:00:00+00:00)"


def test_a_logger_has_the_methods_of_the_one_in_a_worker():
    def logs(context):
        context.logger.bind(a=1).warning("with %s", "arguments", b=2)
        context.logger.new(c=3).log(20, "new")
        context.logger.shout("no")

    failed = run_handler(logs)

    said = [(line.level, line.event, {key: line.fields.get(key) for key in "abc"}) for line in failed.logs]
    assert said == [
        ("warning", "with arguments", {"a": 1, "b": 2, "c": None}),
        ("info", "new", {"a": None, "b": None, "c": 3}),
    ]
    assert "a handler's logger has no 'shout'" in failed.failure.message


def test_ids_ascend_and_never_repeat():
    ids = Kit().ids
    made = [ids.uuid7() for _ in range(9000)]

    assert made == sorted(set(made))
    assert all(each[14] == "7" and each[19] in "89ab" for each in made)
