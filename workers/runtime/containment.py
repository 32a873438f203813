"""Prepares a worker: its sandbox is tested before it takes work that needs one, its keys of permits are looked at."""

from collections.abc import Mapping

import structlog
from celery import Celery

from orchestrator import settings
from orchestrator.auth import permit
from orchestrator.models.arm_capability import ARMS
from workers.sandbox import cleanup
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import NOT_TESTED, SandboxStatus, select_sandbox

log = structlog.get_logger(__name__)


def prepare(app: Celery) -> None:
    """Test the sandbox in a worker's main process, whose children inherit what was found, and end orphans."""
    queues = _queues(app)
    if not any(arm.runs_tools and arm.queue in queues for arm in ARMS.values()):
        return
    cleanup.reap()
    standing = select_sandbox(Isolation(settings.load().executor_min_isolation))
    app.octollm_standing = standing  # type: ignore[attr-defined]  # Celery's app is where a process keeps its own
    if standing.sandbox is not None:
        log.info("sandbox.stands", isolation=standing.isolation, passed_over=list(standing.passed_over))
        return
    log.error("sandbox.unavailable", reason=standing.reason, mend=standing.fix)
    withheld = [arm.arm_id for arm in ARMS.values() if arm.needs_sandbox and arm.queue in queues]
    app.octollm_withheld = withheld  # type: ignore[attr-defined]  # as above
    app.amqp.queues.deselect([ARMS[arm].queue for arm in withheld])


def warn_without_permits(app: Celery) -> None:
    """Log once, in a worker's main process, that its steps run without permits or can't, and what to do."""
    known = settings.load()
    signs = any(arm.saves_rounds and arm.queue in _queues(app) for arm in ARMS.values())
    fault = permit.fault_of_keys(known.permit_private_key, known.permit_public_key, signs=signs)
    if fault:
        log.warning("permit.keys_missing", reason=fault, mend=permit.HOW_TO_MAKE_KEYS)


def standing_of(app: Celery) -> SandboxStatus:
    """Return how this worker keeps tools apart."""
    standing: SandboxStatus = getattr(app, "octollm_standing", NOT_TESTED)
    return standing


def withheld_of(app: Celery) -> Mapping[str, str]:
    """Return the arms whose queue this worker was told to consume and does not, and why."""
    standing = standing_of(app)
    return dict.fromkeys(getattr(app, "octollm_withheld", ()), standing.explanation)


def isolation_of(app: Celery, arm: str) -> str:
    """Return how the tools of an arm's workers are kept apart."""
    return standing_of(app).isolation if ARMS[arm].runs_tools else "not_needed"


def _queues(app: Celery) -> set[str]:
    return set(app.amqp.queues.consume_from)
