"""A worker of Celery."""

import os

from celery import Celery
from journal import entered

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=128,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="nothing")
def nothing(sent: float) -> None:
    """Do nothing."""
    entered(sent)
