"""How other applications create tasks and publish events: over HTTP, or inside a transaction of their own."""
