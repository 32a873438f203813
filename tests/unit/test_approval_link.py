"""Links to approvals: only links that we signed are read, and only until they expire."""

import base64
import json
from dataclasses import asdict, replace

import pytest

from orchestrator.auth import approval_link
from orchestrator.auth.approval_link import MAX_CHARACTERS, ApprovalLink
from orchestrator.models.errors import InvalidCredential

SECRET = b"s" * 32
NOW = 1_764_000_000.0
LINK = ApprovalLink(
    tenant="acme",
    approval_id="6f63746f-6c6c-5d00-8000-737465707321",
    proposal_hash="a" * 64,
    person="Zoë at the desk",
    key_id="k1",
    subject="acme/k1",
    expires_at=int(NOW) + 60,
)


def reason_of(text: str, *, secret: bytes = SECRET, now: float = NOW) -> str:
    with pytest.raises(InvalidCredential) as refused:
        approval_link.read(text, secret=secret, now=now)
    return str(refused.value.details["reason"])


def test_a_link_is_read_as_it_was_signed_and_fits_a_url() -> None:
    text = approval_link.sign(LINK, secret=SECRET)

    assert approval_link.read(text, secret=SECRET, now=NOW) == LINK
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_a_link_with_the_longest_members_is_not_too_long() -> None:
    longest = replace(
        LINK,
        tenant="\U0001f419" * 255,
        person="\U0001f419" * 200,
        key_id="\U0001f419" * 255,
        subject="\U0001f419" * 255,
    )

    text = approval_link.sign(longest, secret=SECRET)

    assert approval_link.read(text, secret=SECRET, now=NOW) == longest


def test_a_link_is_refused_from_the_second_of_its_expiry() -> None:
    text = approval_link.sign(LINK, secret=SECRET)

    assert approval_link.read(text, secret=SECRET, now=NOW + 59.9) == LINK
    assert reason_of(text, now=NOW + 60) == "expired"


@pytest.mark.parametrize("member", sorted(asdict(LINK)))
def test_no_member_of_a_link_can_be_changed(member: str) -> None:
    text = approval_link.sign(LINK, secret=SECRET)
    changed = {**asdict(LINK), member: int(NOW) + 10**6 if member == "expires_at" else "other"}
    payload = base64.urlsafe_b64encode(json.dumps(changed, separators=(",", ":")).encode()).rstrip(b"=")

    assert reason_of(payload.decode() + "." + text.partition(".")[2]) == "link"


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.b", "a", "..", "\u00e9.\u00e9", "\ud800.\ud800", "a" * (MAX_CHARACTERS + 1), "." * 9000],
)
def test_any_other_text_is_refused(text: str) -> None:
    assert reason_of(text) == "link"


def test_a_link_of_another_secret_is_refused() -> None:
    assert reason_of(approval_link.sign(LINK, secret=SECRET), secret=b"t" * 32) == "link"


def test_a_longer_text_is_refused_even_if_its_beginning_is_a_link() -> None:
    text = approval_link.sign(LINK, secret=SECRET)

    assert reason_of(text + "x") == "link"
    assert reason_of(text + "." * MAX_CHARACTERS) == "link"
