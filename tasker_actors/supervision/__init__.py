"""The processes: one supervisor, workers in slots, and the link between them."""
