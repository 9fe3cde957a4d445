"""A worker of PgQueuer."""

import asyncio
import signal
import sys

import asyncpg
import uvloop
from journal import entered
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job

BATCH = 100


async def main() -> None:
    """Run jobs until TERM."""
    queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(sys.argv[1])))

    @queue.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        entered(float(job.payload or b"0"))

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queue.shutdown.set)
    await queue.run(batch_size=BATCH)


uvloop.run(main())
