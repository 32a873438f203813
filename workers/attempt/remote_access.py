"""ProcessAccess: how the steps of HTTP arms reach their arm from this worker's process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.auth import credential
from orchestrator.auth.egress import EgressRules
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.llm.gate import Gate, Policy
from orchestrator.memory import registered_arms
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.arm_errors import ArmExpired
from orchestrator.models.errors import MustWait

WAIT_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ProcessAccess:
    """The operator's rules, the arms' breakers, and where each arm is now."""

    process: WorkerProcess

    @property
    def rules(self) -> EgressRules:
        """Return which URLs the operator allows."""
        return EgressRules.for_arms(self.process.settings)

    @property
    def gate(self) -> Gate:
        """Return the arms' circuit breakers, shared by all processes."""
        return self.process.arm_gate

    def locate(self, arm_id: str) -> str:
        """Return the arm's URL: of its manifest, or as it is registered now.

        Raises MustWait while a registration that expired may be repeated, for ARM_TTL_SECONDS; then ArmExpired.
        """
        stated = ARMS[arm_id]
        if stated.url is not None and not stated.is_registered:
            return stated.url
        with statement(self.process.engine) as conn:
            arm = registered_arms.find(conn, arm_id)
        if arm is not None and arm.is_live:
            return arm.url
        if arm is None or arm.is_withdrawn:
            raise ArmExpired(f"The arm {arm_id} was deleted: register it again, and submit a new task.")
        if arm.expired_seconds > self.process.settings.arm_ttl_seconds:
            raise ArmExpired(
                f"The arm {arm_id} has sent no heartbeat since its registration expired, {arm.expired_seconds:.0f} s "
                "ago: start it, and submit a new task."
            )
        raise MustWait(f"The arm {arm_id} has sent no heartbeat.", details={"retry_after": WAIT_SECONDS})

    def secret(self, arm_id: str) -> str:
        """Return the secret that signs the requests to the arm."""
        return credential.arm_secret(self.process.settings, arm_id)

    def report_outage(self, arm_id: str, reason: str) -> None:
        """Record that the arm's breaker has opened, for the router and for clients."""
        seconds = Policy.open_seconds
        self._record(lambda conn: registered_arms.report_outage(conn, arm_id, seconds=seconds, reason=reason))
        log.warning("arm.breaker_opened", remote_arm=arm_id, seconds=seconds)

    def end_outage(self, arm_id: str) -> None:
        """Record that the arm answers again."""
        self._record(lambda conn: registered_arms.end_outage(conn, arm_id))
        log.info("arm.breaker_closed", remote_arm=arm_id)

    def _record(self, work: Callable[[Connection], None]) -> None:
        """Write what only informs: the breaker works without it, and the step's outcome counts more."""
        try:
            with statement(self.process.engine) as conn:
                work(conn)
        except SQLAlchemyError as error:
            log.warning("arm.breaker_not_recorded", error=type(error).__name__)
