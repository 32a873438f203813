"""A Celery app whose one task counts itself, for a pool that replaces its children often."""

import os

from celery import Celery

from orchestrator.observability import metric

app = Celery("metric_app", broker=os.environ["REDIS_URL"])


@app.task(ignore_result=True)
def count() -> None:
    """Count this task."""
    metric.swept("test")
