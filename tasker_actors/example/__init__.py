"""The worked example: one real day of flights, run on supervised workers (read `flights.py` first)."""
