"""Checks a worker before it takes work: probes its sandbox, and warns when its permit keys are missing."""

from collections.abc import Mapping

import structlog
from celery import Celery

from orchestrator import settings
from orchestrator.auth import permit
from orchestrator.models.arm_capability import ARMS, REMOTE, ArmCapability
from orchestrator.models.errors import SettingsError
from workers.arms.base import ActionArm, load_arm
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import NOT_TESTED, SandboxStatus, select_sandbox

log = structlog.get_logger(__name__)


def probe_sandbox(app: Celery) -> None:
    """Probe the sandbox in a worker's main process, whose children inherit the outcome; end orphaned tools."""
    queues = _queues(app)
    if not any(arm.runs_tools and arm.queue in queues for arm in ARMS.values()):
        return
    from workers.sandbox import cleanup  # noqa: PLC0415 - most workers have no tools

    cleanup.reap()
    status = select_sandbox(Isolation(settings.load().executor_min_isolation))
    app.octollm_sandbox = status  # type: ignore[attr-defined]  # Celery's app holds the state of a process
    if status.sandbox is not None:
        log.info("sandbox.stands", isolation=status.isolation, passed_over=list(status.passed_over))
        return
    log.error("sandbox.unavailable", reason=status.reason, mend=status.fix)
    withheld = [arm.arm_id for arm in ARMS.values() if arm.needs_sandbox and arm.queue in queues]
    app.octollm_withheld = withheld  # type: ignore[attr-defined]  # as above
    app.amqp.queues.deselect([ARMS[arm].queue for arm in withheld])


def import_functions(app: Celery) -> None:
    """Import the functions of the arms that this worker serves. Raises SettingsError when one can't do its steps.

    Other processes know an arm by its contract; only here can an import fail after the start of the system.
    """
    for arm in ARMS.values():
        if arm.kind == "function" and arm.queue in _queues(app):
            require_functions(arm, sandbox=sandbox_of(app))


def require_functions(arm: ArmCapability, *, sandbox: SandboxStatus) -> None:
    """Raise SettingsError when a function arm's module can't be imported, or lacks an action of its contract."""
    where = f"the module {arm.module} of the arm {arm.arm_id} ({arm.source})"
    try:
        found = load_arm(arm.arm_id, sandbox=sandbox)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{where} can't be imported: {type(error).__name__}: {reason:.500}") from error
    missing = sorted(set(arm.actions) - set(found.actions)) if isinstance(found, ActionArm) else []
    if missing:
        raise SettingsError(
            f"{where} has no action {', '.join(missing)}, which its contract states: write the function, or correct "
            "the contract (`octollm arm freeze` writes it anew)"
        )


def warn_without_permits(app: Celery) -> None:
    """Log a warning, in a worker's main process, when permit keys are missing: what follows and what to do."""
    loaded = settings.load()
    signs = any(arm.saves_rounds and arm.queue in _queues(app) for arm in ARMS.values())
    fault = permit.fault_of_keys(loaded.permit_private_key, loaded.permit_public_key, signs=signs)
    if fault:
        log.warning("permit.keys_missing", reason=fault, mend=permit.HOW_TO_MAKE_KEYS)


def sandbox_of(app: Celery) -> SandboxStatus:
    """Return the sandbox that `probe_sandbox` found."""
    status: SandboxStatus = getattr(app, "octollm_sandbox", NOT_TESTED)
    return status


def withheld_of(app: Celery) -> Mapping[str, str]:
    """Return {arm: reason} for each arm whose queue this worker should consume and does not."""
    return dict.fromkeys(getattr(app, "octollm_withheld", ()), sandbox_of(app).explanation)


def isolation_of(app: Celery, arm: str) -> str:
    """Return how the tools of an arm's workers are isolated."""
    runs_tools = arm != REMOTE and ARMS[arm].runs_tools
    return sandbox_of(app).isolation if runs_tools else "not_needed"


def _queues(app: Celery) -> set[str]:
    return set(app.amqp.queues.consume_from)
