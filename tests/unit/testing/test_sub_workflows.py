"""Tasks that handlers start, from the seat of somebody who tests such a handler or its template."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tasker_actors import ChildTask, PermanentError, RetryableError, StepHandlerResult
from tasker_actors.testing import KitError, run_handler, run_step, run_template, start_template
from tasker_actors.workflow.states import TaskState


def one(name, *steps, **keys):
    """A template in a row."""
    return {
        "name": name,
        "namespace_name": "shop",
        "version": "1.0.0",
        "steps": [
            {"name": step, "handler": {"callable": f"{name}.{step}"}, "dependencies": list(steps[:number][-1:])}
            for number, step in enumerate(steps)
        ],
        **keys,
    }


ORDER = one("order", "bill", "ship")
INVOICE = one("invoice", "write", "send", input_schema={"type": "object", "required": ["amount"]})


def bill(context):
    """Let an invoice be written, and go on with its number."""
    if not context.child_tasks:
        return context.start_and_wait("shop/invoice", {"amount": 3}, tags=["bill"])
    (invoice,) = context.child_tasks
    invoice.raise_for_failure()
    return {"number": invoice.results["send"]["number"]}


HANDLERS = {
    "order.bill": bill,
    "order.ship": lambda context: {"with": context.get_dependency_field("bill", "number")},
    "invoice.write": {},
    "invoice.send": {"number": 17},
}


def run(kit=None, **changed):
    return run_template(ORDER, handlers={**HANDLERS, **changed}, templates=[INVOICE], kit=kit)


def test_a_task_waits_for_the_one_that_it_started_and_goes_on_with_its_result():
    task = run()

    assert task.status == "complete"
    assert task.result("ship") == {"with": 17}
    assert [(each.step_name, each.attempt, each.state) for each in task.attempts] == [
        ("bill", 1, "yielded"),
        ("bill", 1, "complete"),
        ("ship", 1, "complete"),
    ]
    (invoice,) = task.children
    assert task.children == [invoice]
    assert (invoice.status, [each.step_name for each in invoice.attempts]) == ("complete", ["write", "send"])
    assert task.attempts[0].waits_for == (invoice.task_uuid,)
    (started,) = task.attempts[0].started
    assert (started.template, started.context, started.tags) == ("shop/invoice@1.0.0", {"amount": 3}, ("bill",))


def test_the_task_it_started_is_of_its_trace_and_names_its_correlation_id():
    task = run()

    (invoice,) = task.children
    facts = invoice._execution.facts
    assert facts.parent_correlation_id == task.correlation_id
    assert facts.trace.trace_id == task.spans[0].trace_id
    calls = [span for span in task.spans[0].walk() if span.name == "handler_call"]
    assert invoice.spans[0].parent_id == calls[0].span_id
    assert facts.depth == 1


def test_it_is_the_same_in_every_run():
    assert run().children[0].task_uuid == run().children[0].task_uuid


def test_the_handler_decides_about_a_task_that_failed():
    task = run(**{"invoice.send": PermanentError("no stamps")})

    assert (task.status, task.children[0].status) == ("error", "error")
    failure = task.step("bill").failure
    assert (failure.error_type, failure.error_code) == ("permanent_error", "child_task_failed")
    assert "step 'send': no stamps" in failure.message


def test_a_retry_after_the_wait_sees_the_same_task():
    seen = []

    def fails_once(context):
        result = bill(context)
        seen.append([child.task_uuid for child in context.child_tasks])
        if context.child_tasks and not context.is_retry():
            raise RetryableError("busy")
        return result

    task = run(**{"order.bill": fails_once})

    assert task.status == "complete"
    assert seen == [[], [task.children[0].task_uuid], [task.children[0].task_uuid]]


def test_what_is_not_waited_for_runs_too_and_its_surprises_are_told():
    def bill_later(context):
        context.start_task("shop/invoice", {"amount": 1})
        return {"number": 0}

    def order(context):
        context.publish("order.written", {"at": {1, 2}})

    task = run(**{"order.bill": bill_later, "invoice.write": order})

    assert (task.status, task.children[0].status) == ("complete", "complete")
    assert "order.written is a dead letter" in "".join(task.surprises)


def test_several_tasks_are_waited_for_at_once_and_one_after_the_other():
    def in_two_rounds(context):
        rounds = context.checkpoint_cursor or 0
        if rounds < 2:
            made = [context.start_task("shop/invoice", {"amount": n}) for n in range(2)]
            return StepHandlerResult.wait_for(made, checkpoint={"cursor": rounds + 1})
        return {"number": len(context.child_tasks)}

    task = run(**{"order.bill": in_two_rounds})

    assert (task.status, task.result("bill"), len(task.children)) == ("complete", {"number": 2}, 4)


def test_who_cancels_a_task_cancels_what_it_waits_for():
    task = start_template(ORDER, handlers=HANDLERS, templates=[INVOICE])
    task.run_next()
    task.run_next()

    assert task.cancel()
    assert (task.status, task.children[0].status) == ("cancelled", "cancelled")
    assert task.children[0].step("write").state == "complete"
    assert task.run_next() is None
    assert not task.cancel()


def test_a_task_that_is_cancelled_by_itself_wakes_who_waits_for_it():
    task = start_template(ORDER, handlers=HANDLERS, templates=[INVOICE])
    task.run_next()

    task.children[0].cancel()
    task.run()

    assert (task.status, task.step("bill").failure.error_code) == ("error", "child_task_failed")


def test_what_cannot_be_started_is_refused_as_by_a_worker():
    failures = [
        run(**{"order.bill": lambda context: context.start_task("shop/invoise")}).step("bill").failure,
        run(**{"order.bill": lambda context: context.start_task("shop/invoice")}).step("bill").failure,
        run(**{"order.bill": StepHandlerResult.wait_for([])}).step("bill").failure,
    ]

    assert [failure.error_code or failure.error_type for failure in failures] == [
        "unknown_template",
        "invalid_context",
        "invalid_wait",
    ]


def test_a_workflow_that_starts_itself_ends_at_its_depth():
    itself = one("loop", "again")

    def again(context):
        if context.child_tasks:
            context.child_tasks[0].raise_for_failure()
        return context.start_and_wait("shop/loop")

    task = run_template(itself, handlers={"loop.again": again}, templates=[itself])

    depth, deepest = 0, task
    while deepest.children:
        depth, deepest = depth + 1, deepest.children[0]
    assert (depth, deepest.step("again").failure.error_code) == (20, "too_deep")
    assert task.status == "error"


@pytest.mark.parametrize("wrong", ["a key twice", "a stranger"])
def test_what_the_database_would_refuse_ends_the_run(wrong):
    def twice(context):
        for _ in range(2):
            context.start_task("shop/invoice", {"amount": 1}, idempotency_key="k")

    stranger = StepHandlerResult.wait_for(["0199c3e0-ccdb-7581-87ab-3f67daeaa4a5"])
    with pytest.raises(KitError, match=r"is there already|has not started"):
        run(**{"order.bill": twice if wrong == "a key twice" else stranger})


def test_one_attempt_of_a_handler_is_run_with_what_it_starts_and_what_it_waited_for():
    first = run_step(ORDER, "bill", handlers={"order.bill": bill}, templates=[INVOICE])
    assert first.state == "yielded"
    assert [task.template for task in first.started] == ["shop/invoice@1.0.0"]

    uuid = first.waits_for[0]
    done = ChildTask(uuid, "shop", "invoice", "1.0.0", TaskState.COMPLETE, {"send": {"number": 4}})
    failed = ChildTask(uuid, "shop", "invoice", "1.0.0", TaskState.ERROR, error={"step_name": "send", "message": "no"})

    assert run_handler(bill, child_tasks=[done]).result == {"number": 4}
    assert run_handler(bill, child_tasks=[failed]).failure.error_code == "child_task_failed"


def test_the_example_of_the_readme_does_what_is_said_there(monkeypatch):
    readme = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    source = readme.split("<!-- sub-workflow -->\n```python\n")[1].split("```")[0]
    module = ModuleType("orders")
    monkeypatch.setitem(sys.modules, "orders", module)
    exec(compile(source, "orders.py", "exec"), module.__dict__)  # noqa: S102 - our own
    order, invoice = one("order", "bill"), {**one("invoice", "write", "send"), "namespace_name": "billing"}
    code = [module, {"invoice.write": {}, "invoice.send": {"number": 17}}]

    task = run_template(order, {"amount": 3}, handlers=code, templates=[invoice])

    assert task.result("bill") == {"number": 17}
    assert task.attempts[0].started[0].context == {"amount": 3}
