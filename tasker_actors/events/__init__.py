"""Domain events: what may be published, when, and as which bytes."""
