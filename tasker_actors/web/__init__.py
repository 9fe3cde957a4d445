"""The HTTP port: tasks, events, workers, health and metrics over one FastAPI application (SPEC 8)."""
