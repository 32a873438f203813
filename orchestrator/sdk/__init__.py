"""What the author of an arm imports: `action` makes a function an action, `Context` is what it may use besides."""

from orchestrator.sdk.action import action
from orchestrator.sdk.context import AttachedFile, Context
from orchestrator.sdk.errors import Failed, Retry

__all__ = ["AttachedFile", "Context", "Failed", "Retry", "action"]
