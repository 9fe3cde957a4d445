"""Messages of 500 bytes to an xoscar actor in another process: prints how many a second."""

import asyncio
import json
import sys
import time
from typing import Any

import xoscar

TEXT = "x" * 500
TELLS, ASKS, ASKERS = 20_000, 6_000, 8


class Counter(xoscar.Actor):
    """Counts messages."""

    def __init__(self) -> None:
        super().__init__()
        self._handled = 0

    async def load(self, number: int, text: str) -> int:
        """Count one, and answer its number."""
        self._handled += 1
        return number

    async def how_many(self) -> int:
        """Tell the count."""
        return self._handled


async def main() -> None:
    """A pool of one main and one further process; the actor is in the further one."""
    pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=1)
    strategy = xoscar.allocate_strategy.ProcessIndex(1)
    actor = await xoscar.create_actor(Counter, address=pool.external_address, uid="c", allocate_strategy=strategy)
    await asks(actor, 500, 1)
    json.dump(
        {"tell": await tells(actor), "ask": await asks(actor, ASKS, 1), "asks": await asks(actor, ASKS, ASKERS)},
        sys.stdout,
    )
    await pool.stop()


async def tells(actor: Any) -> float:
    """Until the last one was handled."""
    before, began = await actor.how_many(), time.perf_counter()
    for number in range(TELLS):
        await actor.load.tell(number, TEXT)
    while await actor.how_many() < before + TELLS:
        await asyncio.sleep(0.001)
    return TELLS / (time.perf_counter() - began)


async def asks(actor: Any, count: int, askers: int) -> float:
    """So many askers at a time, each awaits its answers."""

    async def one() -> None:
        for number in range(count // askers):
            await actor.load(number, TEXT)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(askers)))
    return count // askers * askers / (time.perf_counter() - began)


if __name__ == "__main__":
    asyncio.run(main())
