"""Decisions, batches and checkpoints, from the seat of somebody who tests a template that has them."""

from __future__ import annotations

import pytest
from support.dynamic import chosen, divided, slice_done

from tasker_actors import PermanentError, RetryableError, StepHandlerResult
from tasker_actors.testing import KitError, outcomes, run_handler, run_step, run_template, start_template

APPROVAL = {
    "name": "approval",
    "namespace_name": "shop",
    "version": "1.0.0",
    "steps": [
        {"name": "route", "handler": {"callable": "a.route"}, "type": "decision"},
        {"name": "small", "handler": {"callable": "a.small"}, "dependencies": ["route"]},
        {"name": "large", "handler": {"callable": "a.large"}, "dependencies": ["route"]},
        {
            "name": "finish",
            "handler": {"callable": "a.finish"},
            "type": "deferred_convergence",
            "dependencies": ["small", "large"],
        },
    ],
}


def import_of(strategy):
    """A batch whose worker has this strategy."""
    batch = {"worker_template": "work", "failure_strategy": strategy}
    steps = [
        {"name": "analyze", "handler": {"callable": "a.analyze"}, "type": "batchable"},
        {
            "name": "work",
            "handler": {"callable": "a.work"},
            "type": "batch_worker",
            "dependencies": ["analyze"],
            "batch_config": batch,
            "retry": {"max_attempts": 1},
        },
        {"name": "sum", "handler": {"callable": "a.sum"}, "type": "deferred_convergence", "dependencies": ["work"]},
    ]
    return {"name": "import", "namespace_name": "shop", "version": "1.0.0", "steps": steps}


def by_range(context):
    """Add up a range; the second one cannot be read."""
    cursor = context.step_inputs["cursor"]
    if cursor["start_cursor"] == 10:
        raise PermanentError("unreadable")
    return {"rows": cursor["end_cursor"] - cursor["start_cursor"]}


def gathered(context):
    """Name what there is to gather."""
    return {
        "of": sorted(context.dependency_results),
        "rows": [each["rows"] for each in context.get_all_dependency_results("work_")],
    }


def imported(strategy, count=3, work=by_range):
    """Run an import."""
    return run_template(import_of(strategy), replace={"analyze": divided(count).result, "work": work, "sum": gathered})


def approved(decision):
    """Run an approval whose decision comes to this."""
    others = {"small": {"by": "one"}, "large": {"by": "two"}, "finish": lambda context: context.dependency_results}
    return run_template(APPROVAL, replace={"route": decision, **others})


def test_a_decision_says_which_steps_exist_and_the_convergence_gathers_those():
    task = approved(chosen("large").result)

    assert list(task.steps) == ["route", "large", "finish"]
    assert task.status == "complete"
    assert task.result("finish")["large"] == {"by": "two"}
    assert list(approved(chosen("small", "large").result).steps) == ["route", "small", "large", "finish"]
    assert list(approved(chosen().result).steps) == ["route"]
    with pytest.raises(KitError, match="approval has no step 'small'"):
        task.step("small")


def test_nobody_sees_steps_that_may_not_come_to_be():
    others = {"small": {}, "large": {}, "finish": {}}
    task = start_template(APPROVAL, replace={"route": chosen("small").result, **others})

    assert list(task.steps) == ["route"]
    assert (task.status, task.summary.total_steps) == ("pending", 1)
    assert task.cancel()
    assert {step.state.value for step in task.steps.values()} == {"cancelled"}


@pytest.mark.parametrize(
    ("decision", "what"), [(chosen("smal").result, "did you mean 'small'"), ({}, "decision_point_outcome")]
)
def test_a_decision_that_cannot_be_followed_fails_for_good(decision, what):
    task = approved(decision)

    assert task.status == "error"
    failure = task.step("route").failure
    assert (failure.error_type, task.step("route").attempts) == ("invalid_decision", 1)
    assert what in failure.message
    assert list(task.steps) == ["route"]


def test_a_batch_runs_an_instance_for_each_range():
    task = imported("isolate", count=1)

    assert list(task.steps) == ["analyze", "sum", "work_001"]
    assert task.step("work_001").inputs["cursor"]["end_cursor"] == 10
    assert [each.step_name for each in task.attempts] == ["analyze", "work_001", "sum"]
    assert task.result("sum") == {"of": ["analyze", "work_001"], "rows": [10]}


def test_a_batch_without_ranges_has_a_placeholder():
    task = imported("isolate", count=0, work=lambda context: {"no_op": context.step_inputs["is_no_op"]})

    assert list(task.steps) == ["analyze", "work", "sum"]
    assert task.result("work") == {"no_op": True}
    assert task.status == "complete"


def test_a_failed_range_means_what_the_strategy_says():
    goes_on = imported("continue_on_failure")
    assert (goes_on.status, goes_on.result("sum")["rows"]) == ("complete", [10, 10])
    assert goes_on.step("work_002").state == "error"
    goes_on.raise_for_failure()

    fails_fast = imported("fail_fast")
    assert {name: step.state.value for name, step in fails_fast.steps.items()} == {
        "analyze": "complete",
        "sum": "pending",
        "work_001": "complete",
        "work_002": "error",
        "work_003": "cancelled",
    }
    assert (fails_fast.status, fails_fast.step("sum").blocked) == ("error", True)

    isolates = imported("isolate")
    assert isolates.step("work_003").state == "complete"
    assert (isolates.status, isolates.step("sum").blocked) == ("error", True)
    with pytest.raises(PermanentError, match="unreadable"):
        isolates.raise_for_failure()


def sliced(context):
    """Work in slices of two, and fail once in the middle."""
    done = (context.checkpoint or {}).get("cursor", 0)
    if done == 2 and not context.is_retry():
        raise RetryableError("in the middle")
    if done < 4:
        yielded = slice_done(done + 2, items=2, results={"sum": done})
        return StepHandlerResult.success(yielded.result, yielded.metadata)
    return {"done": done, "history": [each["cursor"] for each in context.checkpoint["history"]]}


def test_a_step_goes_on_from_its_checkpoint_also_in_its_next_attempt():
    step = {"name": "slow", "handler": {"callable": "a.slow"}, "publishes_events": [{"name": "slow.done"}]}
    template = {"name": "slow", "namespace_name": "shop", "version": "1.0.0", "steps": [step]}
    task = run_template(template, replace={"slow": sliced})

    assert [(each.state, each.attempt) for each in task.attempts] == [
        ("yielded", 1),
        ("waiting_for_retry", 1),
        ("yielded", 2),
        ("complete", 2),
    ]
    assert task.result("slow") == {"done": 4, "history": [2, 4]}
    assert task.event_names == ["slow.done"]
    assert task.attempts[0].checkpoint["accumulated_results"] == {"sum": 0}
    assert task.step("slow").checkpoint["cursor"] == 4
    assert task.step("slow").attempts == 2


def test_a_step_that_never_ends_ends_the_run(monkeypatch):
    monkeypatch.setattr("tasker_actors.testing.execution.MAX_SLICES", 3)
    yielded = slice_done(1)
    endless = StepHandlerResult.success(yielded.result, yielded.metadata)
    with pytest.raises(KitError, match="step 'route' has ended 3 slices of its work, and goes on"):
        approved(endless)


def test_one_attempt_of_a_handler_has_the_checkpoint_and_the_inputs_that_a_test_gives():
    yielded = run_handler(sliced, checkpoint={"cursor": 2, "history": [{"cursor": 2}]}, attempt=2)
    assert (yielded.state, yielded.checkpoint["cursor"], yielded.result) == ("yielded", 4, None)
    assert yielded.succeeded
    done = run_handler(sliced, checkpoint={"cursor": 4, "history": [{"cursor": 4}]})
    assert (done.result, done.checkpoint) == ({"done": 4, "history": [4]}, None)
    template = import_of("isolate")
    work = run_step(
        template, "work", handlers={"a.work": by_range}, step_inputs={"cursor": {"start_cursor": 0, "end_cursor": 5}}
    )
    assert work.result == {"rows": 5}
    bad = slice_done(1, items=-1)
    refused = run_handler(outcomes(StepHandlerResult.success(bad.result, bad.metadata)))
    assert refused.error_type == "invalid_checkpoint"
