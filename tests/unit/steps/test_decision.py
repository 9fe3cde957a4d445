import pytest

from tasker_actors.steps.decision import Decision, DecisionPointOutcome, DecisionType
from tasker_actors.steps.decision_handler import DecisionHandler, DecisionMixin
from tasker_actors.steps.handler import StepHandler


class Router(DecisionHandler):
    handler_name = "orders.route"
    handler_version = "2.0.0"

    def call(self, context): ...


SIGNED = {"decision_handler": "orders.route", "decision_version": "2.0.0"}


def test_a_decision_for_steps_is_what_the_runtime_reads():
    result = Router().decision_success(["pack", "send"], {"tier": "gold"}, {"took": 1})

    assert result.result == {
        "decision_point_outcome": {"type": "create_steps", "step_names": ["pack", "send"]},
        "routing_context": {"tier": "gold"},
    }
    assert result.metadata == {"took": 1, **SIGNED}
    assert Router().route_to_steps(["pack"]).result == Router().decision_success(["pack"]).result


def test_a_decision_for_no_steps_keeps_its_reason():
    result = Router().skip_branches("nothing ordered", {"items": 0})

    assert result.is_success
    assert result.result == {
        "decision_point_outcome": {"type": "no_branches", "reason": "nothing ordered"},
        "reason": "nothing ordered",
        "routing_context": {"items": 0},
    }


def test_outcomes_may_be_made_before():
    wanted = DecisionPointOutcome.create_steps(["pack"], dynamic_steps=[{"name": "x"}])
    unwanted = DecisionPointOutcome.no_branches("")

    assert Router().decision_success_with_outcome(wanted).result["dynamic_steps"] == [{"name": "x"}]
    assert Router().decision_no_branches(unwanted).result["decision_point_outcome"] == {"type": "no_branches"}
    assert wanted.decision_type is DecisionType.CREATE_STEPS


def test_a_decision_that_cannot_be_made_fails_for_good():
    result = Router().decision_failure("no amount")

    assert (result.error_type, result.retryable, result.metadata) == ("decision_error", False, SIGNED)
    assert Router().decision_failure("later", retryable=True).retryable


def test_the_mixin_goes_with_any_handler():
    class Mixed(DecisionMixin, StepHandler):
        def call(self, context): ...

    assert Mixed().decision_success(["a"]).metadata["decision_handler"] == "Mixed"
    assert Router().capabilities == ["process", "decision", "routing"]
    assert Mixed().capabilities == ["process"]
    assert Mixed().config_schema() is None


@pytest.mark.parametrize(
    ("decision", "kind"), [(Decision.route(["a"], x=1), "create_steps"), (Decision.skip("no", x=1), "no_branches")]
)
def test_a_function_decides_in_one_line(decision, kind):
    document = decision.outcome.document()

    assert document["decision_point_outcome"]["type"] == kind
    assert document["routing_context"] == {"x": 1}
