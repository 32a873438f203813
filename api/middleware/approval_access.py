"""Reads an approval for the tenant that called, and decides who may decide it."""

from api.middleware import context
from orchestrator.auth.credential import Principal
from orchestrator.memory import approvals
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.errors import NotFound, NotTheAssignee, OwnTask
from orchestrator.models.ids import is_approval_id
from orchestrator.observability import log

# an assignee that begins so names the only key that may decide; any other text is only shown
KEY_PREFIX = "key:"


def find_approval(tenant: str, approval_id: str) -> ApprovalRecord:
    """Return a tenant's approval. Raises NotFound for an unknown or malformed id, or another tenant's approval."""
    approval = None
    if is_approval_id(approval_id):
        with tenant_statement(context.orchestrator().engine, tenant) as conn:
            approval = approvals.find(conn, tenant, approval_id)
    if approval is None:
        raise NotFound("There is no such approval.")
    log.bind(task_id=approval.task_id)
    return approval


def require_decider(principal: Principal, approval: ApprovalRecord) -> None:
    """Raise NotTheAssignee or OwnTask if the caller, who has the scope task:approve, may not decide this approval.

    An assignee `key:ID` admits only the API key ID, or the subject ID of an identity provider's tokens. With
    APPROVAL_FOUR_EYES=on the key that submitted the task may not decide it.
    """
    prefix, named = (approval.assignee or "")[: len(KEY_PREFIX)], (approval.assignee or "")[len(KEY_PREFIX) :]
    if prefix == KEY_PREFIX and named and named not in (principal.key_id, principal.subject):
        raise NotTheAssignee(f"Only {approval.assignee} may decide this.")
    has_four_eyes = context.orchestrator().settings.approval_four_eyes == "on"
    if has_four_eyes and approval.submitted_by == principal.key_id:
        raise OwnTask
