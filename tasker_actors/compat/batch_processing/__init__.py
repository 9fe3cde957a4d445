"""`tasker_core.batch_processing`."""

from tasker_actors.steps.batch.aggregation import BatchAggregationScenario
from tasker_actors.steps.batch.batchable import Batchable
from tasker_actors.steps.batch.ranges import BatchWorkerConfig

__all__ = ["BatchAggregationScenario", "BatchWorkerConfig", "Batchable"]
