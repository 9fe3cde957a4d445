"""What handlers of batch steps are written with: ranges, outcomes, a worker's own range, aggregation."""
