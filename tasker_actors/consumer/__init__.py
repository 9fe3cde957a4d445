"""Reads a namespace's durable events in another application, each within its task's trace."""
