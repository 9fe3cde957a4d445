"""The command `tasker-actors`, one file a command group. Start at `app.py`."""
