"""The kit's own fixture."""

from tasker_actors.testing.fixtures import kit

__all__ = ["kit"]
