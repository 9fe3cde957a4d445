"""How large the experiments of the commit path are: `EXPERIMENT_SCALE=10` makes them ten times what CI can afford."""

from __future__ import annotations

import os

SCALE = int(os.environ.get("EXPERIMENT_SCALE", "1"))
