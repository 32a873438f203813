"""Permits: signed statements of what a round's steps may do, issued when it is saved and verified by its arms.

A round has one JWT, signed with EdDSA (RFC 8037) over the root of a Merkle tree whose leaves are the digests of its
steps. A step's permit is that JWT and the hashes that lead from its leaf to the root. Only the pools that save rounds
have the private key. Arms have the public key, so that a compromised arm can write rows, but can't grant itself or
other arms new rights.
"""

import base64
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import jwt

from orchestrator.models import record, signing_key
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.errors import PermitDenied
from orchestrator.models.loop import LOOP_SECONDS, runs_no_arm

ALGORITHM = "EdDSA"
GRACE_SECONDS = 60
HOW_TO_MAKE_KEYS = (
    "set PERMIT_PRIVATE_KEY for planners and judges and PERMIT_PUBLIC_KEY for the API and all workers: "
    "`octollm keys permits` prints a pair, `octollm up` makes its own"
)
_ISSUER = "octollm-rounds"
_ROUND_CLAIMS = ("iss", "exp", "iat", "task", "round", "tenant", "root")
# of a permit of an earlier release, which signed each step alone
_STEP_CLAIMS = ("iss", "aud", "exp", "iat", "jti", "task", "round", "step", "action", "spec", "limits")
# different first bytes keep a node from passing as a leaf (RFC 9162, 2.1.1)
_LEAF, _NODE = b"\0", b"\1"
_HASH_BYTES = 32
_VERIFIED_ROUNDS = 1024


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


def add_permits(
    private_key: str, rows: Sequence[dict[str, Any]], *, tenant: str, deadline_at: datetime
) -> list[dict[str, Any]]:
    """Return the rows of one round, those of its steps that are to run with a permit in their spec.

    A permit is valid until GRACE_SECONDS after the task's deadline, for its own row (id, name, arm, spec with the
    inputs), and for a task, a round and a tenant.
    """
    work = [row for row in rows if row["kind"] == "step" and row["state"] != "done"]
    if not work:
        return list(rows)
    limits = [{"seconds": _seconds(row), "tools": _tools(row)} for row in work]
    specs = json.loads(record.encode([row["spec"] for row in work]))
    leaves = [
        _leaf({**row, "spec": spec}, limit) for row, spec, limit in zip(work, specs, limits, strict=True)
    ]
    root, paths = _tree(leaves)
    claims = {
        "iss": _ISSUER,
        "iat": int(time.time()),
        "exp": int(deadline_at.timestamp()) + GRACE_SECONDS,
        "task": work[0]["task_id"],
        "round": work[0]["round"],
        "tenant": tenant,
        "root": root.hex(),
    }
    token = jwt.encode(claims, signing_key.read_private(private_key), algorithm=ALGORITHM)
    permits = {
        row["id"]: {"round": token, "path": base64.b64encode(b"".join(path)).decode(), **limit}
        for row, path, limit in zip(work, paths, limits, strict=True)
    }
    return [
        {**row, "spec": {**row["spec"], "permit": permits[row["id"]]}} if row["id"] in permits else row
        for row in rows
    ]


def check(public_key: str, row: Mapping[str, Any], *, now: float) -> Grant:
    """Return what the permit in a claimed row's spec allows at `now`, in seconds since 1970.

    The caller takes `now` from Postgres: this machine's clock may differ from that of the machine that signed. Raises
    PermitDenied if the permit is missing or not valid for the row.
    """
    held = row["spec"].get("permit")
    if not held:
        raise PermitDenied(f"step {row['name']} has no permit, but its arm requires one")
    try:
        if isinstance(held, str):
            return _check_single(public_key, row, held, now=now)
        return _check_in_round(public_key, row, held, now=now)
    except jwt.ExpiredSignatureError as error:
        raise PermitDenied(f"the permit of step {row['name']} has expired") from error
    except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
        raise PermitDenied(
            f"the permit of step {row['name']} is invalid: {error.__class__.__name__}"
        ) from error


def _check_in_round(public_key: str, row: Mapping[str, Any], held: Mapping[str, Any], *, now: float) -> Grant:
    claims = _verified_round(public_key, held["round"])
    if claims["exp"] <= now:
        raise jwt.ExpiredSignatureError
    expected = {"task": row["task_id"], "round": row["round"], "tenant": row["tenant"]}
    wrong = [name for name, value in expected.items() if claims[name] != value]
    if wrong:
        raise PermitDenied(f"the permit of step {row['name']} is for another {', '.join(wrong)}")
    limit = {"seconds": held["seconds"], "tools": held["tools"]}
    path = base64.b64decode(held["path"], validate=True)
    if _root_of(_leaf(row, limit), path).hex() != claims["root"]:
        raise PermitDenied(
            f"the permit of step {row['name']} is for another row: the id, name, arm, action, inputs, tools or limits "
            "of this one differ from what was signed"
        )
    return Grant(float(limit["seconds"]), tuple(limit["tools"]))


@lru_cache(maxsize=_VERIFIED_ROUNDS)
def _verified_round(public_key: str, token: str) -> Mapping[str, Any]:
    """Return the claims of a round's token; the caller checks when it ends. Raises PyJWTError and ValueError.

    The library would compare the token's times with this machine's clock.
    """
    claims: dict[str, Any] = jwt.decode(
        token,
        signing_key.read_public(public_key),
        algorithms=[ALGORITHM],
        issuer=_ISSUER,
        options={"require": list(_ROUND_CLAIMS), "verify_exp": False, "verify_iat": False},
    )
    return claims


def _check_single(public_key: str, row: Mapping[str, Any], token: str, *, now: float) -> Grant:
    """Check a permit of an earlier release, which issued each step a token of its own."""
    claims = jwt.decode(
        token,
        signing_key.read_public(public_key),
        algorithms=[ALGORITHM],
        issuer=_ISSUER,
        audience=row["arm"],
        options={"require": list(_STEP_CLAIMS), "verify_exp": False, "verify_iat": False},
    )
    if claims["exp"] <= now:
        raise jwt.ExpiredSignatureError
    spec = json.dumps(as_read(_signed(row["spec"])), sort_keys=True)
    expected = {
        "jti": row["id"],
        "task": row["task_id"],
        "round": row["round"],
        "step": row["name"],
        "action": row["spec"]["action"],
        "spec": hashlib.sha256(spec.encode()).hexdigest(),
    }
    wrong = [name for name, value in expected.items() if claims[name] != value]
    if wrong:
        raise PermitDenied(f"the permit of step {row['name']} is for another {', '.join(wrong)}")
    # permits of release 0.1 have no tools claim
    return Grant(float(claims["limits"]["seconds"]), tuple(claims.get("tools", _action(row).tools)))


def _tree(leaves: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Return the root of a Merkle tree and each leaf's path to it: at most log2(leaves) + 1 hashes.

    The last node of a level with an odd number moves up as it is.
    """
    paths: list[list[bytes]] = [[] for _ in leaves]
    level = [(leaf, [index]) for index, leaf in enumerate(leaves)]
    while len(level) > 1:
        above = []
        for (left, lefts), (right, rights) in list(pairwise(level))[::2]:
            for index in lefts:
                paths[index].append(right)
            for index in rights:
                paths[index].append(left)
            above.append((_node(left, right), lefts + rights))
        level = above + level[len(above) * 2 :]
    return level[0][0], paths


def _root_of(leaf: bytes, path: bytes) -> bytes:
    """Return the root to which a path, the concatenated hashes beside a leaf, leads. Raises ValueError."""
    if len(path) % _HASH_BYTES:
        raise ValueError("a path of whole hashes")
    root = leaf
    for start in range(0, len(path), _HASH_BYTES):
        root = _node(root, path[start : start + _HASH_BYTES])
    return root


def _node(one: bytes, other: bytes) -> bytes:
    """Return the hash of a pair in either order, so that a path needs no directions."""
    return hashlib.sha256(_NODE + min(one, other) + max(one, other)).digest()


def _leaf(row: Mapping[str, Any], limit: Mapping[str, Any]) -> bytes:
    signed = {
        "id": row["id"],
        "step": row["name"],
        "arm": row["arm"],
        "spec": _signed(row["spec"]),
        "limit": limit,
    }
    return hashlib.sha256(_LEAF + json.dumps(as_read(signed), sort_keys=True).encode()).digest()


def _seconds(row: Mapping[str, Any]) -> float:
    if runs_no_arm(row["spec"]):
        return LOOP_SECONDS
    return float(row["spec"].get("timeout_seconds") or _action(row).timeout_seconds)


def _tools(row: Mapping[str, Any]) -> list[str]:
    return [] if runs_no_arm(row["spec"]) else list(_action(row).tools)


def _action(row: Mapping[str, Any]) -> Action:
    return ARMS[row["arm"]].actions[row["spec"]["action"]]


def _signed(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != "permit"}


def as_read(value: Any) -> Any:
    """Return a JSON value with its numbers as jsonb returns them: 1e22 becomes an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: as_read(child) for name, child in value.items()}
    return [as_read(child) for child in value] if isinstance(value, list) else value
