"""Messages of 500 bytes to a Thespian actor in another process: prints how many a second."""

import json
import sys
import time
from datetime import timedelta
from typing import Any

from thespian.actors import Actor, ActorSystem

TEXT = "x" * 500
TELLS, ASKS = 6_000, 3_000
PATIENCE = timedelta(seconds=60)


class Counter(Actor):  # type: ignore[misc]  # Thespian has no types
    """Counts messages, and answers those that are asked."""

    handled = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802  # Thespian's name for it
        """Count one."""
        self.handled += 1
        if message[0]:
            self.send(sender, self.handled)


def main() -> None:
    """The base that its guide recommends between processes of one machine."""
    system = ActorSystem("multiprocTCPBase")
    try:
        actor = system.createActor(Counter)
        system.ask(actor, (True, TEXT), PATIENCE)
        began = time.perf_counter()
        for _ in range(TELLS):
            system.tell(actor, (False, TEXT))
        system.ask(actor, (True, TEXT), PATIENCE)
        told = TELLS / (time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(ASKS):
            system.ask(actor, (True, TEXT), PATIENCE)
        json.dump({"tell": told, "ask": ASKS / (time.perf_counter() - began)}, sys.stdout)
    finally:
        system.shutdown()


if __name__ == "__main__":
    main()
