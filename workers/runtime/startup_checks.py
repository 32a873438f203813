"""Checks a worker before it takes work: probes its sandbox, and warns when its permit keys are missing."""

from collections.abc import Mapping

import structlog
from celery import Celery

from orchestrator import settings
from orchestrator.auth import permit
from orchestrator.models.arm_capability import ARMS
from workers.sandbox import orphans
from workers.sandbox.backend import Isolation
from workers.sandbox.choice import NOT_TESTED, Standing, strongest

log = structlog.get_logger(__name__)

RUN_TOOLS = frozenset({"coder", "executor"})
"""Arms whose workers probe the sandbox."""
NEED_SANDBOX = frozenset({"executor"})
"""Arms whose queue is not consumed without a sandbox."""

SIGN_PERMITS = frozenset({"planner", "judge"})
"""Arms whose workers save rounds, and sign the permits of their steps."""


def probe_sandbox(app: Celery) -> None:
    """Probe the sandbox in a worker's main process, whose children inherit the outcome; end orphaned tools."""
    queues = _queues(app)
    if not any(ARMS[arm].queue in queues for arm in RUN_TOOLS):
        return
    orphans.reap()
    standing = strongest(Isolation(settings.load().executor_min_isolation))
    app.octollm_standing = standing  # type: ignore[attr-defined]  # Celery's app holds the state of a process
    if standing.sandbox is not None:
        log.info("sandbox.stands", isolation=standing.isolation, passed_over=list(standing.passed_over))
        return
    log.error("sandbox.unavailable", reason=standing.reason, mend=standing.mend)
    withheld = sorted(arm for arm in NEED_SANDBOX if ARMS[arm].queue in queues)
    app.octollm_withheld = withheld  # type: ignore[attr-defined]  # as above
    app.amqp.queues.deselect([ARMS[arm].queue for arm in withheld])


def warn_without_permits(app: Celery) -> None:
    """Log a warning, in a worker's main process, when permit keys are missing: what follows and what to do."""
    loaded = settings.load()
    signs = any(ARMS[arm].queue in _queues(app) for arm in SIGN_PERMITS)
    fault = permit.fault_of_keys(loaded.permit_private_key, loaded.permit_public_key, signs=signs)
    if fault:
        log.warning("permit.keys_missing", reason=fault, mend=permit.HOW_TO_MAKE_KEYS)


def sandbox_of(app: Celery) -> Standing:
    """Return the sandbox that `probe_sandbox` found."""
    standing: Standing = getattr(app, "octollm_standing", NOT_TESTED)
    return standing


def withheld_of(app: Celery) -> Mapping[str, str]:
    """Return {arm: reason} for each arm whose queue this worker should consume and does not."""
    return dict.fromkeys(getattr(app, "octollm_withheld", ()), sandbox_of(app).told)


def isolation_of(app: Celery, arm: str) -> str:
    """Return how the tools of an arm's workers are isolated."""
    return sandbox_of(app).isolation if arm in RUN_TOOLS else "not_needed"


def _queues(app: Celery) -> set[str]:
    return set(app.amqp.queues.consume_from)
