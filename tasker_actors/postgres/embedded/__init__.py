"""A PostgreSQL server of our own, for whoever has none: made, started, shared and stopped without anybody's help."""

from tasker_actors.postgres.embedded.launch import programs
from tasker_actors.postgres.embedded.server import EmbeddedServer, running_url

__all__ = ["EmbeddedServer", "programs", "running_url"]
