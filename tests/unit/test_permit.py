"""A permit is valid for one unchanged row, until its expiry, and only if the private key signed its round."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
    "kind": "step",
    "state": "held",
    "name": "tests",
    "arm": "executor",
    "spec": {"action": "tests", "inputs": {"max_failures": 3}, "timeout_seconds": None},
}
RELEASED = json.loads((Path(__file__).parents[1] / "releases" / "0.1.json").read_text())


def check(key: str, row: Mapping[str, Any], *, now: datetime | None = None) -> permit.Grant:
    """Check a row's permit at a time; now, if none is given."""
    return permit.check(key, row, now=(now or datetime.now(UTC)).timestamp())


def row_of(number: int) -> dict[str, Any]:
    """Return the row of another step of the same round."""
    return {**ROW, "id": f"{number:08}-0000-5000-8000-000000000002", "name": f"step{number}"}


def permitted_round(
    *rows: dict[str, Any], key: str = KEY, tenant: str = "acme", until: datetime | None = None
) -> list[dict[str, Any]]:
    """Return rows with their permits as jsonb returns them, claimed for their tenant."""
    deadline = until or datetime.now(UTC) + timedelta(minutes=5)
    signed = permit.add_permits(key, rows, tenant=tenant, deadline_at=deadline)
    return [{**json.loads(json.dumps(row)), "tenant": tenant} for row in signed]


def permitted(row: dict[str, Any] = ROW, **options: Any) -> dict[str, Any]:
    return permitted_round(row, row_of(1), row_of(2), **options)[0]


def with_permit(row: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    """Return a row with parts of its permit replaced."""
    spec = row["spec"]
    return {**row, "spec": {**spec, "permit": {**spec["permit"], **parts}}}


def test_a_permit_grants_the_actions_time_limit_and_tools() -> None:
    assert check(PUBLIC, permitted()) == (120, ("pytest", "uv"))
    assert check(PUBLIC, permitted({**ROW, "spec": {**ROW["spec"], "timeout_seconds": 7}})).seconds == 7


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task_id": "task_1111111111111111"}, "another task"),
        ({"round": 2}, "another round"),
        ({"tenant": "globex"}, "another tenant"),
        ({"id": "another"}, "another row"),
        ({"name": "lint"}, "another row"),
        ({"arm": "coder"}, "another row"),
        ({"spec": {**ROW["spec"], "action": "lint"}}, "another row"),
        ({"spec": {**ROW["spec"], "inputs": {"max_failures": 4}}}, "another row"),
        ({"spec": {**ROW["spec"], "timeout_seconds": 3600}}, "another row"),
        ({"spec": {**ROW["spec"], "added": None}}, "another row"),
    ],
)
def test_a_permit_is_not_valid_for_another_row(change: dict[str, Any], why: str) -> None:
    good = permitted()
    changed = {**good, **change}
    changed["spec"] = {**changed["spec"], "permit": good["spec"]["permit"]}

    with pytest.raises(PermitDenied, match=why):
        check(PUBLIC, changed)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 200])
def test_every_step_of_a_round_has_a_permit_of_at_most_log_n_hashes(count: int) -> None:
    signed = permitted_round(*map(row_of, range(count)))

    for row in signed:
        assert check(PUBLIC, row) == (120, ("pytest", "uv"))
        path = base64.b64decode(row["spec"]["permit"]["path"])
        assert len(path) <= 32 * (count - 1).bit_length()
    assert len({row["spec"]["permit"]["round"] for row in signed}) == 1


def test_the_permit_of_one_step_is_not_valid_for_another_of_its_round() -> None:
    signed = permitted_round(*map(row_of, range(5)))

    for row in signed:
        for other in signed:
            if other is not row:
                stolen = {**row, "spec": {**row["spec"], "permit": other["spec"]["permit"]}}
                with pytest.raises(PermitDenied, match="another row"):
                    check(PUBLIC, stolen)


def test_each_altered_byte_of_a_path_is_denied() -> None:
    row = permitted_round(*map(row_of, range(5)))[2]
    path = base64.b64decode(row["spec"]["permit"]["path"])

    for place in range(len(path)):
        altered = path[:place] + bytes([path[place] ^ 1]) + path[place + 1 :]
        with pytest.raises(PermitDenied, match="another row"):
            check(PUBLIC, with_permit(row, path=base64.b64encode(altered).decode()))
    for shorter in (path[:-32], path[32:], path + path[:32], b""):
        with pytest.raises(PermitDenied, match="another row"):
            check(PUBLIC, with_permit(row, path=base64.b64encode(shorter).decode()))


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"seconds": 3600}, "another row"),
        ({"tools": ["pytest", "ruff"]}, "another row"),
        ({"tools": None}, "another row"),
        ({"path": "AAAA"}, "invalid: ValueError"),
        ({"path": "no base64"}, "invalid: Error"),
        ({"path": None}, "invalid: TypeError"),
        ({"round": None}, "invalid: DecodeError"),
        ({"round": {}}, "invalid: TypeError"),
        ({"round": "a.b.c"}, "invalid: DecodeError"),
    ],
)
def test_an_altered_or_malformed_permit_is_denied(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(PermitDenied, match=why):
        check(PUBLIC, with_permit(permitted(), **parts))


@pytest.mark.parametrize("held", [["a"], 7, {"path": ""}, True])
def test_a_permit_of_another_form_is_denied(held: Any) -> None:
    with pytest.raises(PermitDenied, match="invalid"):
        check(PUBLIC, {**ROW, "tenant": "acme", "spec": {**ROW["spec"], "permit": held}})


def test_a_missing_expired_or_foreign_permit_is_denied() -> None:
    stranger = permitted(key=signing_key.new_private_key())
    late = permitted(until=datetime.now(UTC) - timedelta(hours=1))
    shared = with_permit(permitted(), round=jwt.encode({"task": "t"}, "x" * 32))
    claims = jwt.decode(permitted()["spec"]["permit"]["round"], options={"verify_signature": False})
    forged = with_permit(permitted(), round=jwt.encode(claims, "x" * 32))

    for row, why in (
        (stranger, "InvalidSignature"),
        (late, "has expired"),
        (shared, "InvalidAlg"),
        (forged, "InvalidAlg"),
        ({**ROW, "tenant": "acme"}, "no permit"),
    ):
        with pytest.raises(PermitDenied, match=why) as refused:
            check(PUBLIC, row)
        assert not refused.value.retryable


def test_a_round_that_was_verified_before_still_expires() -> None:
    row = permitted()
    check(PUBLIC, row)

    with pytest.raises(PermitDenied, match="has expired"):
        check(PUBLIC, row, now=datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize("wrong_by", [timedelta(days=-1), timedelta(days=1)], ids=["behind", "ahead"])
def test_a_wrong_clock_of_the_arm_s_machine_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, wrong_by: timedelta
) -> None:
    """The machine that signed may be minutes ahead: the library would call its permits not yet valid, or expired."""
    row, now = permitted(), datetime.now(UTC)
    permit._verified_round.cache_clear()
    shown = now + wrong_by

    class WrongClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return shown

    monkeypatch.setattr("jwt.api_jwt.datetime", WrongClock)
    monkeypatch.setattr("time.time", shown.timestamp)

    assert permit.check(PUBLIC, row, now=now.timestamp()).seconds == 120


def test_a_round_is_verified_once_for_each_key() -> None:
    signed = permitted_round(*map(row_of, range(9)))
    permit._verified_round.cache_clear()

    for row in signed:
        check(PUBLIC, row)
    with pytest.raises(PermitDenied, match="InvalidSignature"):
        check(signing_key.public_key_of(signing_key.new_private_key()), signed[0])

    assert permit._verified_round.cache_info().hits == 8


def test_the_public_key_signs_nothing() -> None:
    forged = permitted(key=PUBLIC)

    with pytest.raises(PermitDenied):
        check(PUBLIC, forged)


def test_only_steps_that_are_to_run_get_a_permit() -> None:
    judge = {**ROW, "id": "j", "kind": "judge", "name": "$judge", "arm": "judge", "spec": {}}
    reused = {**row_of(1), "state": "done"}

    signed = permit.add_permits(KEY, [reused, ROW, judge], tenant="acme", deadline_at=datetime.now(UTC))
    unsigned = permit.add_permits(KEY, [reused, judge], tenant="acme", deadline_at=datetime.now(UTC))

    assert ["permit" in row["spec"] for row in signed] == [False, True, False]
    assert unsigned == [reused, judge]


def test_permits_of_the_previous_release_are_valid_for_their_rows_only() -> None:
    public = signing_key.public_key_of(RELEASED["permit_private_key"])
    rows = [{**row, "tenant": "acme"} for row in RELEASED["rows"]["steps"] if row["kind"] == "step"]
    assert rows

    for row in rows:
        assert check(public, row).seconds > 0
        for changed in (
            {**row, "id": "another"},
            {**row, "arm": "coder"},
            {**row, "spec": {**row["spec"], "inputs": {}}},
        ):
            with pytest.raises(PermitDenied):
                check(public, changed)


def test_the_token_of_a_round_is_no_permit_of_the_previous_release_and_the_other_way_round() -> None:
    public = signing_key.public_key_of(RELEASED["permit_private_key"])
    old = next(row for row in RELEASED["rows"]["steps"] if row["kind"] == "step")
    ours = permitted()

    for key, row, held in (
        (PUBLIC, ours, ours["spec"]["permit"]["round"]),
        (
            public,
            {**old, "tenant": "acme"},
            {"round": old["spec"]["permit"], "path": "", "seconds": 1, "tools": []},
        ),
    ):
        with pytest.raises(PermitDenied, match="MissingRequiredClaim"):
            check(key, {**row, "spec": {**row["spec"], "permit": held}})
