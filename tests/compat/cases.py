"""What the original's own end-to-end tests run in Python, and what they expect, said again in our words.

Each example exists as classes and as decorated functions. `{fixtures}` in a context is the checkout's tests/fixtures.
Numbers that the original only names in comments are checked too. Two things are not its tests': no batches leave one
placeholder in both styles, as its documents say, and the two refunds, which none of its tests runs, complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compat.expectations import (
    Check,
    all_complete,
    attempts_at_least,
    count_of,
    events_counted,
    no_value,
    result,
    result_at_least,
    state,
    step_count,
    steps_are,
)

CLASSES, FUNCTIONS = "classes", "functions"


@dataclass(frozen=True)
class Case:
    """One task of one template, and what it comes to; `events` are to be waited for before anything is checked."""

    name: str
    style: str
    namespace: str
    template: str
    context: Mapping[str, Any]
    status: str
    checks: tuple[Check, ...]
    events: int = 0


def both(
    name: str,
    template: str,
    context: Mapping[str, Any],
    *checks: Check,
    status: str = "complete",
    styled: Mapping[str, Sequence[Check]] | None = None,
    events: int = 0,
) -> list[Case]:
    """Make the case in both styles; `template` is `namespace/name` with `{dsl}` where the styles differ."""
    cases = []
    for style, part in ((CLASSES, ""), (FUNCTIONS, "_dsl")):
        namespace, template_name = template.format(dsl=part).split("/")
        own = (*checks, *(styled or {}).get(style, ()))
        cases.append(Case(name, style, namespace, template_name, context, status, own, events))
    return cases


_LINEAR = "linear_workflow{dsl}_py/mathematical_sequence{dsl}_py"
_DIAMOND = "diamond_workflow{dsl}_py/parallel_computation{dsl}_py"
_APPROVAL = "conditional_approval{dsl}_py/approval_routing{dsl}_py"
_CSV = "csv_processing{dsl}_py/csv_product_inventory_analyzer{dsl}_py"
_CHECKPOINT = "python_e2e_checkpoint_yield/checkpoint_yield_test{dsl}"
_WORKER = "checkpoint_yield_batch"
_EVENTS = "domain_events{dsl}_py/domain_event_publishing{dsl}_py"


def _approval(amount: float) -> dict[str, Any]:
    return {"amount": amount, "requester": "somebody@example.com", "purpose": "a purchase"}


def _approved(*ways: str) -> tuple[Check, ...]:
    return (
        steps_are("validate_request", "routing_decision", *ways, "finalize_approval"),
        all_complete(),
        result("finalize_approval", "approval_count", len(ways)),
    )


def _checkpoint(total: int, every: int, **more: Any) -> dict[str, Any]:
    return {"total_items": total, "items_per_checkpoint": every, **more}


def _dispatched(methods: Mapping[str, str]) -> tuple[Check, ...]:
    return tuple(result(step, "invoked_method", method) for step, method in methods.items())


_DISPATCH = {
    "validate_step": "validate",
    "process_step": "process",
    "refund_step": "refund",
    "default_call_step": "call",
}

CASES: tuple[Case, ...] = (
    *both(
        "linear, 6", _LINEAR, {"even_number": 6}, step_count(4), all_complete(), result("linear_step_4", "result", 69)
    ),
    *both(
        "linear, 10",
        _LINEAR,
        {"even_number": 10},
        step_count(4),
        all_complete(),
        result("linear_step_4", "result", 165),
    ),
    *both(
        "diamond, 6", _DIAMOND, {"even_number": 6}, step_count(4), all_complete(), result("diamond_end", "result", 66.5)
    ),
    *both("diamond, 4", _DIAMOND, {"even_number": 4}, step_count(4), all_complete()),
    *both("approval, 500", _APPROVAL, _approval(500.0), *_approved("auto_approve")),
    *both("approval, 0.01", _APPROVAL, _approval(0.01), *_approved("auto_approve")),
    *both("approval, 1,000", _APPROVAL, _approval(1000.0), *_approved("manager_approval")),
    *both("approval, 2,500", _APPROVAL, _approval(2500.0), *_approved("manager_approval")),
    *both("approval, 5,000", _APPROVAL, _approval(5000.0), *_approved("manager_approval", "finance_review")),
    *both("approval, 10,000", _APPROVAL, _approval(10000.0), *_approved("manager_approval", "finance_review")),
    *both(
        "batches of 1,000 rows",
        _CSV,
        {"csv_file_path": "{fixtures}/products.csv", "analysis_mode": "inventory"},
        count_of("process_csv_batch", 5),
        step_count(7),
        all_complete(),
        result("aggregate_csv_results", "total_processed", 1000),
        result("aggregate_csv_results", "worker_count", 5),
        result_at_least("aggregate_csv_results", "total_inventory_value", 0.01),
    ),
    *both(
        "batches of no rows",
        _CSV,
        {"csv_file_path": "{fixtures}/products_empty.csv", "analysis_mode": "inventory"},
        count_of("process_csv_batch", 1),
        all_complete(),
        result("aggregate_csv_results", "total_processed", 0),
    ),
    *both(
        "checkpoints",
        _CHECKPOINT,
        _checkpoint(100, 25),
        all_complete(),
        result("aggregate_results", "total_processed", 100),
        result("aggregate_results", "running_total", 5050),
        result("aggregate_results", "test_passed", True),
        result_at_least("aggregate_results", "checkpoints_used", 3),
    ),
    *both(
        "checkpoints, a failure between",
        _CHECKPOINT,
        _checkpoint(100, 20, fail_after_items=50, fail_on_attempt=1),
        all_complete(),
        state(_WORKER, "complete", attempts=2),
        result("aggregate_results", "total_processed", 100),
        result("aggregate_results", "running_total", 5050),
    ),
    *both(
        "checkpoints, a failure for good",
        _CHECKPOINT,
        _checkpoint(100, 25, fail_after_items=30, fail_on_attempt=1, permanent_failure=True),
        state(_WORKER, "error", attempts=1),
        status="error",
    ),
    *both(
        "checkpoints, many",
        _CHECKPOINT,
        _checkpoint(50, 5),
        all_complete(),
        result("aggregate_results", "total_processed", 50),
        result_at_least("aggregate_results", "checkpoints_used", 8),
    ),
    *both(
        "checkpoints, no items",
        _CHECKPOINT,
        _checkpoint(0, 10),
        all_complete(),
        result("aggregate_results", "total_processed", 0),
        no_value("aggregate_results", "checkpoints_used"),
    ),
    *both(
        "checkpoints, one call",
        _CHECKPOINT,
        _checkpoint(10, 20),
        all_complete(),
        state(_WORKER, "complete", attempts=1),
        result("aggregate_results", "total_processed", 10),
        no_value("aggregate_results", "checkpoints_used"),
    ),
    *both(
        "success", "test_scenarios{dsl}_py/success_only{dsl}_py", {"message": "hello"}, step_count(1), all_complete()
    ),
    *both(
        "failure for good",
        "test_scenarios{dsl}_py/permanent_error_only{dsl}_py",
        {"error_message": "not this way"},
        step_count(1),
        state("", "error", attempts=1),
        status="error",
    ),
    *both(
        "failure to retry",
        "test_scenarios{dsl}_py/retryable_error_only{dsl}_py",
        {"error_message": "not now"},
        step_count(1),
        state("", "error"),
        attempts_at_least("", 2),
        status="error",
    ),
    *both(
        "methods of one handler",
        "resolver_tests{dsl}_py/method_dispatch{dsl}_py",
        {"data": {"amount": 100.0, "reason": "test_refund"}},
        steps_are(*_DISPATCH),
        all_complete(),
        styled={CLASSES: _dispatched(_DISPATCH), FUNCTIONS: _dispatched(dict.fromkeys(_DISPATCH, "call"))},
    ),
    *both(
        "events",
        _EVENTS,
        {"order_id": "an-order", "customer_id": "somebody", "amount": 99.99, "simulate_failure": False},
        step_count(4),
        all_complete(),
        events_counted(total_routed=4, durable_routed=1, fast_routed=3),
        events=4,
    ),
    *both(
        "an order",
        "ecommerce{dsl}_py/ecommerce_order_processing{dsl}_py",
        {
            "cart_items": [{"product_id": 1, "quantity": 2}, {"product_id": 2, "quantity": 1}],
            "customer_info": {"email": "somebody@example.com", "name": "Some Body", "phone": "+1-555-0123"},
            "payment_info": {"method": "credit_card", "token": "tok_test_valid", "amount": 124.76},
        },
        steps_are("validate_cart", "process_payment", "update_inventory", "create_order", "send_confirmation"),
        all_complete(),
    ),
    *both(
        "a pipeline of data",
        "data_pipeline{dsl}_py/analytics_pipeline{dsl}_py",
        {"pipeline_id": "a-pipeline", "date_range": {"start_date": "2025-11-01", "end_date": "2025-11-30"}},
        step_count(8),
        all_complete(),
    ),
    *both(
        "a registration",
        "microservices{dsl}_py/user_registration{dsl}_py",
        {"user_info": {"email": "one@example.com", "name": "Some One", "plan": "pro", "source": "api_test"}},
        step_count(5),
        all_complete(),
    ),
    *both(
        "a refund, customers' side",
        "customer_success{dsl}_py/customer_success_process_refund{dsl}_py",
        {
            "ticket_id": "ticket_1",
            "customer_id": "customer_1",
            "refund_amount": 5000,
            "refund_reason": "customer_request",
            "customer_email": "somebody@example.com",
            "correlation_id": "a-correlation",
            "payment_id": "pay_1",
        },
        step_count(5),
        all_complete(),
    ),
    *both(
        "a refund, payments' side",
        "payments{dsl}_py/payments_process_refund{dsl}_py",
        {
            "payment_id": "pay_1",
            "refund_amount": 5000,
            "refund_reason": "customer_request",
            "customer_email": "somebody@example.com",
        },
        step_count(4),
        all_complete(),
    ),
)
