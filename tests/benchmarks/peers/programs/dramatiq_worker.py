"""A worker of Dramatiq."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from journal import entered

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_URL"]))


@dramatiq.actor(actor_name="nothing")
def nothing(sent: float) -> None:
    """Do nothing."""
    entered(sent)
