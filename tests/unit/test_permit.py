"""A permit is valid for one unchanged row, until its expiry, and only if the private key signed it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from orchestrator.auth import permit
from orchestrator.models import signing_key
from orchestrator.models.errors import PermitDenied

KEY = signing_key.new_private_key()
PUBLIC = signing_key.public_key_of(KEY)
ROW: dict[str, Any] = {
    "id": "0d7e8c3a-0000-5000-8000-000000000001",
    "task_id": "task_0000000000000000",
    "round": 1,
    "name": "tests",
    "arm": "executor",
    "spec": {"action": "tests", "inputs": {"max_failures": 3}, "timeout_seconds": None},
}


def permitted(
    row: Mapping[str, Any] = ROW, *, key: str = KEY, until: datetime | None = None
) -> dict[str, Any]:
    token = permit.sign(key, row, deadline_at=until or datetime.now(UTC) + timedelta(minutes=5))
    return {**row, "spec": {**row["spec"], "permit": token}}


def test_a_permit_grants_the_actions_time_limit_and_tools() -> None:
    assert permit.check(PUBLIC, permitted()) == (120, ("pytest",))
    assert (
        permit.check(PUBLIC, permitted({**ROW, "spec": {**ROW["spec"], "timeout_seconds": 7}})).seconds == 7
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": "another"}, "another jti"),
        ({"task_id": "task_1111111111111111"}, "another task"),
        ({"round": 2}, "another round"),
        ({"name": "lint"}, "another step"),
        ({"arm": "coder"}, "InvalidAudienceError"),
        ({"spec": {**ROW["spec"], "action": "lint"}}, "another action, spec"),
        ({"spec": {**ROW["spec"], "inputs": {"max_failures": 4}}}, "another spec"),
        ({"spec": {**ROW["spec"], "timeout_seconds": 3600}}, "another spec"),
    ],
)
def test_a_permit_is_not_valid_for_another_row(change: dict[str, Any], why: str) -> None:
    good = permitted()
    changed = {**good, **change}
    changed["spec"] = {**changed["spec"], "permit": good["spec"]["permit"]}

    with pytest.raises(PermitDenied, match=why):
        permit.check(PUBLIC, changed)


def test_a_missing_expired_or_foreign_permit_is_denied() -> None:
    stranger = permitted(key=signing_key.new_private_key())
    late = permitted(until=datetime.now(UTC) - timedelta(hours=1))
    forged = {**ROW, "spec": {**ROW["spec"], "permit": jwt.encode({"aud": "executor"}, "x" * 32)}}

    for row, why in (
        (stranger, "InvalidSignature"),
        (late, "Expired"),
        (forged, "InvalidAlg"),
        (ROW, "no permit"),
    ):
        with pytest.raises(PermitDenied, match=why) as refused:
            permit.check(PUBLIC, row)
        assert not refused.value.retryable


def test_the_public_key_signs_nothing() -> None:
    forged = permitted(key=PUBLIC)

    with pytest.raises(PermitDenied):
        permit.check(PUBLIC, forged)
