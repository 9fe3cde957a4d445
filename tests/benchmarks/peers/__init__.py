"""What a user would pick instead, run as its own documentation recommends for speed, and as durable as ours.

One module a peer, each with the side that creates work; what its worker processes run is in `programs`.
"""
