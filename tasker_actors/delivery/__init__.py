"""Delivery of domain events: the router, the in-process bus, patterns, and the durable publisher."""
