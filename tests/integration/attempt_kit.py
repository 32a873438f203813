"""Runs attempts as a worker would, on rows that a test has claimed."""

from orchestrator.bootstrap import WorkerProcess
from orchestrator.memory.hints import Hints
from orchestrator.models.step_result import StepResult
from orchestrator.queue.app import make_app
from tests.integration.kit import Engineer
from workers.attempt import pipeline
from workers.attempt.concerns.lease import hold_lease
from workers.attempt.context import AttemptContext
from workers.attempt.execution import run_arm


def process_of(engineer: Engineer) -> WorkerProcess:
    """Return a worker's process with the engineer's settings and connections."""
    settings = engineer.settings
    return WorkerProcess(
        settings=settings,
        engine=engineer.engine,
        hints=Hints(settings.redis_url),
        app=make_app(lambda: settings),
        owner="me",
    )


def run_step(attempt: AttemptContext) -> StepResult:
    """Run a step through all of its concerns but the lease, whose stop signal the test holds."""
    concerns = [concern for concern in pipeline.STEP if concern is not hold_lease]
    result: StepResult = pipeline.wrap(run_arm, concerns)(attempt)
    return result
