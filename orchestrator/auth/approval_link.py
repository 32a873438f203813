"""Signs and reads links to approvals: whoever has one may see one proposal and decide it once, without a token.

A link is stateless, so it works after any restart. It decides once because its approval is decided once. It ends at
its own expiry, with its approval, when the key of its issuer is revoked, and when the key that signs tokens changes.
"""

import base64
import hmac
import json
from dataclasses import asdict, dataclass

from orchestrator.models.errors import InvalidCredential

MAX_CHARACTERS = 6144
_MEMBERS = {
    "tenant": str,
    "approval_id": str,
    "proposal_hash": str,
    "person": str,
    "key_id": str,
    "subject": str,
    "expires_at": int,
}


@dataclass(frozen=True)
class ApprovalLink:
    """What a link says: its approval, the proposal that it shows, and the `person` it is for.

    `key_id` and `subject` are those of the token that made the link. `expires_at` is in seconds since 1970.
    """

    tenant: str
    approval_id: str
    proposal_hash: str
    person: str
    key_id: str
    subject: str
    expires_at: int


def sign(link: ApprovalLink, *, secret: bytes) -> str:
    """Return the link as text of A-Z a-z 0-9 - _ and one dot."""
    payload = _text_of(json.dumps(asdict(link), separators=(",", ":"), ensure_ascii=False).encode())
    return f"{payload}.{_signature(payload, secret)}"


def read(text: str, *, secret: bytes, now: float) -> ApprovalLink:
    """Return what a link says at `now` (seconds since 1970). Raises InvalidCredential unless we signed it."""
    payload, _, signature = text[:MAX_CHARACTERS].partition(".")
    is_ours = hmac.compare_digest(
        signature.encode("utf-8", "surrogatepass"), _signature(payload, secret).encode()
    )
    if len(text) > MAX_CHARACTERS or not is_ours:
        raise InvalidCredential("This service did not make the link.", details={"reason": "link"})
    members = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if members.keys() != _MEMBERS.keys() or not all(
        isinstance(members[name], kind) for name, kind in _MEMBERS.items()
    ):
        raise InvalidCredential("The link was made by another release.", details={"reason": "link"})
    link = ApprovalLink(**members)
    if link.expires_at <= now:
        raise InvalidCredential("The link has expired; ask for a new one.", details={"reason": "expired"})
    return link


def _signature(payload: str, secret: bytes) -> str:
    return _text_of(hmac.new(secret, payload.encode("utf-8", "surrogatepass"), "sha256").digest())


def _text_of(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
