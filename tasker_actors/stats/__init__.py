"""Counts what happens in each worker, merges it over slots and incarnations, and shows it (DESIGN 4)."""
