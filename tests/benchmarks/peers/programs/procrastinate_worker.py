"""A worker of Procrastinate."""

import os

import procrastinate
from journal import entered

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_URL"]))


@app.task(name="nothing", queue="bench")
async def nothing(sent: float) -> None:
    """Do nothing."""
    entered(sent)
