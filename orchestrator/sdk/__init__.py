"""What the author of an arm imports: `action` makes a function an action, `Context` is what it may use besides.

`LocalContext` stands in for it in tests.
"""

from orchestrator.sdk.action import action
from orchestrator.sdk.context import AttachedFile, Context
from orchestrator.sdk.errors import Failed, NeedsReplan, Retry
from orchestrator.sdk.local import LocalContext

__all__ = ["AttachedFile", "Context", "Failed", "LocalContext", "NeedsReplan", "Retry", "action"]
