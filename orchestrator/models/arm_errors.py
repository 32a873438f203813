"""The errors of HTTP arms.

StepError
├── ArmUnavailable       the arm can't be reached, or is overloaded
│   └── ArmExpired       its registration has ended
└── ArmFailed            the arm answered with an error (details.arm_code)
    └── ArmFailedForNow  the same, and it may be tried again
"""

from orchestrator.models.errors import StepError


class ArmUnavailable(StepError):
    """The HTTP arm can't be reached, or is overloaded."""

    code = "arm_unavailable"
    retryable = True


class ArmExpired(ArmUnavailable):
    """The HTTP arm's registration has ended."""

    retryable = False


class ArmFailed(StepError):
    """The HTTP arm answered with an error."""

    code = "arm_failed"


class ArmFailedForNow(ArmFailed):
    """The HTTP arm answered with an error, and that it may be tried again."""

    retryable = True
