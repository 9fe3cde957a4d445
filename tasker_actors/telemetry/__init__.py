"""What happened, and where: trace context, tracing, metrics and logging; this file imports none of them."""
