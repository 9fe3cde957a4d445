"""① Steps: the kit that handlers are written with, and what finds, claims and runs them.

Importing this package imports nothing else: a user's handlers need the kit, not the runtime.
"""
