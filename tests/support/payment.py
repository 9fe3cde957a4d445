"""A template of a payment and its code, as whoever tests with the kit has them; and the worked example's template."""

from __future__ import annotations

from typing import Any

from tasker_actors import BasePublisher, BaseSubscriber, StepHandler, depends_on, inputs, step_handler, subscriber
from tasker_actors.example.flight_data import FLIGHTS_DIRECTORY

PAYMENT: dict[str, Any] = {
    "name": "payment",
    "namespace_name": "shop",
    "version": "1.0.0",
    "input_schema": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}},
    "steps": [
        {
            "name": "charge",
            "handler": {"callable": "shop.charge", "initialization": {"currency": "EUR"}},
            "retry": {"max_attempts": 4, "backoff": "exponential", "backoff_base_ms": 1000, "max_backoff_ms": 3000},
            "timeout_seconds": 10,
            "publishes_events": [
                {"name": "payment.charged", "delivery_mode": "broadcast"},
                {"name": "payment.retried", "delivery_mode": "fast", "condition": "retryable_failure"},
                {"name": "payment.refused", "condition": "permanent_failure", "publisher": "shop.refusals"},
            ],
        },
        {"name": "stamp", "handler": {"callable": "shop.stamp"}},
        {
            "name": "receipt",
            "handler": {"callable": "shop.receipt"},
            "dependencies": ["charge", "stamp"],
            "publishes_events": [
                {"name": "receipt.sent", "schema": {"type": "object", "required": ["number"]}},
            ],
        },
    ],
}


class Charge(StepHandler):
    """A handler whose gateway a test can replace."""

    handler_name = "shop.charge"

    def __init__(self, gateway=None):
        self.gateway = gateway or (lambda amount: "paid")

    def call(self, context):
        """Charge, and say so."""
        context.logger.info("charging", amount=context.get_input("amount"))
        return {"status": self.gateway(context.get_input("amount")), "currency": context.get_config("currency")}


@step_handler("shop.stamp")
def stamp():
    """Give a number."""
    return {"number": 7}


@step_handler("shop.receipt")
@depends_on(charged="charge", stamped="stamp")
@inputs("amount")
def receipt(charged, stamped, amount):
    """Write a receipt from two results."""
    return {**stamped, "text": f"{amount} {charged['currency']} {charged['status']}"}


class Refusals(BasePublisher):
    """A publisher that remembers what it was told after the commit."""

    publisher_name = "shop.refusals"

    def __init__(self):
        self.told = []

    def additional_metadata(self, context):
        """Say how many attempts there were."""
        return {"attempts": context.facts.attempt}

    def after_publish(self, event_name, payload, metadata):
        """Remember."""
        self.told.append((event_name, payload["error_type"], metadata["custom"]))


class Payments(BaseSubscriber):
    """A subscriber with a state."""

    patterns = ("payment.*",)

    def __init__(self):
        self.seen = []

    def handle(self, event):
        """Remember."""
        self.seen.append(event.event_name)


@subscriber("#")
def on_everything(event):
    """Take everything."""


CODE = [Charge, stamp, receipt, Refusals, Payments, on_everything]
DEPARTURE = FLIGHTS_DIRECTORY / "departure.yaml"
