"""Permits: signed statements of what a step may do, issued when its round is saved and verified by its arm.

A permit is a JWT signed with EdDSA (RFC 8037). Only the pools that save rounds have the private key. Arms have the
public key, so that a compromised arm can write rows, but can't grant itself or other arms new rights.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import jwt

from orchestrator.models import record, signing_key
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.errors import PermitDenied

ALGORITHM = "EdDSA"
GRACE_SECONDS = 60
HOW_TO_MAKE_KEYS = (
    "set PERMIT_PRIVATE_KEY for planners and judges and PERMIT_PUBLIC_KEY for the API and all workers: "
    "`octollm keys permits` prints a pair, `octollm up` makes its own"
)
_ISSUER = "octollm-rounds"
_CLAIMS = ("iss", "aud", "exp", "iat", "jti", "task", "round", "step", "action", "spec", "limits")


class Grant(NamedTuple):
    """What a permit allows: a run time of `seconds`, and `tools` in the sandbox."""

    seconds: float
    tools: tuple[str, ...]


def fault_of_keys(private_key: str | None, public_key: str | None, *, signs: bool) -> str:
    """Return what is wrong with a process's keys, or an empty string; `signs`: it issues permits itself."""
    if public_key is None:
        return "steps run without permits: PERMIT_PUBLIC_KEY is not set"
    if private_key is None:
        return "steps get no permit and are rejected: PERMIT_PRIVATE_KEY is not set" if signs else ""
    if signing_key.public_key_of(private_key) != public_key:
        return "every step is rejected: PERMIT_PRIVATE_KEY and PERMIT_PUBLIC_KEY are not a pair"
    return ""


def sign(private_key: str, row: Mapping[str, Any], *, deadline_at: datetime) -> str:
    """Return the permit for a step's row (id, task_id, round, name, arm, spec).

    It is valid until GRACE_SECONDS after the task's deadline, and only for the row's spec, including its inputs.
    """
    claims = {
        "iss": _ISSUER,
        "aud": row["arm"],
        "iat": int(time.time()),
        "exp": int(deadline_at.timestamp()) + GRACE_SECONDS,
        "jti": row["id"],
        "task": row["task_id"],
        "round": row["round"],
        "step": row["name"],
        "action": row["spec"]["action"],
        "spec": _digest(row["spec"]),
        "tools": list(_action(row).tools),
        "limits": {"seconds": _seconds(row)},
    }
    return jwt.encode(claims, signing_key.read_private(private_key), algorithm=ALGORITHM)


def check(public_key: str, row: Mapping[str, Any]) -> Grant:
    """Return what the permit in a row's spec allows. Raises PermitDenied if it is missing or not valid for the row."""
    token = row["spec"].get("permit")
    if not token:
        raise PermitDenied(f"step {row['name']} has no permit, but its arm requires one")
    try:
        claims = jwt.decode(
            token,
            signing_key.read_public(public_key),
            algorithms=[ALGORITHM],
            issuer=_ISSUER,
            audience=row["arm"],
            options={"require": list(_CLAIMS)},
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise PermitDenied(
            f"the permit of step {row['name']} is invalid: {error.__class__.__name__}"
        ) from error
    expected = {
        "jti": row["id"],
        "task": row["task_id"],
        "round": row["round"],
        "step": row["name"],
        "action": row["spec"]["action"],
        "spec": _digest(row["spec"]),
    }
    wrong = [name for name, value in expected.items() if claims[name] != value]
    if wrong:
        raise PermitDenied(f"the permit of step {row['name']} is for another {', '.join(wrong)}")
    # permits of release 0.1 have no tools claim
    return Grant(float(claims["limits"]["seconds"]), tuple(claims.get("tools", _action(row).tools)))


def _seconds(row: Mapping[str, Any]) -> float:
    return float(row["spec"].get("timeout_seconds") or _action(row).timeout_seconds)


def _action(row: Mapping[str, Any]) -> Action:
    return ARMS[row["arm"]].actions[row["spec"]["action"]]


def _digest(spec: Mapping[str, Any]) -> str:
    """Return the sha256 of a spec, which is the same before and after a round trip through jsonb."""
    signed = json.loads(record.encode({name: value for name, value in spec.items() if name != "permit"}))
    return hashlib.sha256(json.dumps(_as_read(signed), sort_keys=True).encode()).hexdigest()


def _as_read(value: Any) -> Any:
    """Return a JSON value with its numbers as jsonb returns them: 1e22 becomes an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _as_read(child) for name, child in value.items()}
    return [_as_read(child) for child in value] if isinstance(value, list) else value
