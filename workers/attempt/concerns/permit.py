"""Limits a step to the tools and the time that its permit allows."""

import time
from dataclasses import replace
from typing import Any

from orchestrator.auth import permit
from orchestrator.models.loop import runs_no_arm
from workers.attempt.context import AttemptContext, Handler


def check_permit(attempt: AttemptContext, proceed: Handler) -> Any:
    """Check the step's permit; raises PermitDenied. Without PERMIT_PUBLIC_KEY the action's own tools are allowed."""
    key = attempt.process.settings.permit_public_key
    if not key:
        tools = () if runs_no_arm(attempt.claim.spec) else attempt.action.tools
        return proceed(replace(attempt, tools=tools))
    # when the claim was made, by Postgres' clock
    claimed_at = attempt.claim.deadline_at.timestamp() - attempt.claim.seconds_left
    grant = permit.check(key, vars(attempt.claim), now=claimed_at)
    limited = attempt.until(time.monotonic() + grant.seconds)
    return proceed(replace(limited, tools=grant.tools))
