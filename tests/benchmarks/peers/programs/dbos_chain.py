"""Four-step workflows of DBOS, one after the other on an idle system: prints how many milliseconds each took."""

import json
import os
import sys
import threading
import time

from dbos import DBOS

CHAINS = 100
PAUSE_SECONDS = 0.03


@DBOS.step()
def nothing(number: int) -> dict[str, bool]:
    """Do nothing."""
    return {"done": True}


@DBOS.workflow()
def chain(number: int) -> None:
    """Four steps in a row."""
    for _ in range(4):
        nothing(number)


def main() -> None:
    """Some that do not count, then a hundred."""
    url = sys.argv[1].replace("postgresql://", "postgresql+psycopg://")
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "WARNING"})
    DBOS.launch()
    taken, pause = [], threading.Event()
    for number in range(-10, CHAINS):
        began = time.perf_counter()
        chain(number)
        if number >= 0:
            taken.append((time.perf_counter() - began) * 1000)
        pause.wait(PAUSE_SECONDS)
    print(json.dumps(taken))
    sys.stdout.flush()
    os._exit(0)


main()
