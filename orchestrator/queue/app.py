"""Makes the Celery app and defines the names of its tasks."""

from collections.abc import Callable
from typing import Any

from celery import Celery

from orchestrator.connections.server_url import broker_settings
from orchestrator.models.execution_state import StepKind
from orchestrator.queue import transport
from orchestrator.settings import Settings, load

WEBHOOK_QUEUE = "webhook"
WEBHOOK_TASK = "tasks.webhook"
TASK_NAMES = {StepKind.PLAN: "tasks.plan", StepKind.STEP: "tasks.step", StepKind.JUDGE: "tasks.judge"}


def make_app(settings: Callable[[], Settings] = load) -> Celery:
    """Return the app; `settings` is called when the app's configuration is first used."""
    transport.install()
    app = Celery("octollm", config_source="celeryconfig")

    def addresses() -> dict[str, Any]:
        chosen = settings()
        return {**broker_settings(chosen.redis_url), "result_backend": chosen.celery_result_backend}

    app.add_defaults(addresses)
    return app
