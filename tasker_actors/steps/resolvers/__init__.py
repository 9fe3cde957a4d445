"""How a template's `handler` is found by rules of one's own, under tasker-py's names."""
