"""Owns how often each layer was wrong: hits that are run again and compared, reports, and the switch they throw."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from orchestrator import sql
from orchestrator.task_contract import CACHE_MODES, Contract, Criterion, Priority

_SQL = sql.load(__file__)

MOST_WRONG = 0.01
"""The share of wrong hits up to which a layer stays on."""
WINDOW_DAYS = 7
_Z = 1.959964
_REPORTS = 2
_ALIAS_FACTOR = 10
_MAX_SHOWN_CHARACTERS = 4_000
# what two right runs of one plan differ in
_VOLATILE = frozenset({"seconds", "duration_ms", "milliseconds", "summary", "provenance"})
_SAME_ANSWER = "The result gives the same answer, in every particular, as this one: "


@dataclass(frozen=True)
class Hit:
    """A task that an earlier result answered, and that is to be run again."""

    task_id: str
    tenant: str
    layer: str
    source_task_id: str
    contract: dict[str, Any]
    source_output: str


@dataclass(frozen=True)
class Rerun:
    """A hit and the task that ran it again, both ended; `verdict` is that of the rerun's judge."""

    task_id: str
    tenant: str
    layer: str
    source_result: dict[str, Any]
    status: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    verdict: dict[str, Any] | None


@dataclass(frozen=True)
class Opinion:
    """Whether a hit was right; None when that can't be told."""

    agrees: bool | None
    reason: str


@dataclass(frozen=True)
class Standing:
    """A layer's record of the last WINDOW_DAYS for one tenant."""

    audited: int
    wrong: int
    reports: int

    @property
    def bound(self) -> float:
        """Return the share of wrong hits that is not exceeded, with 95 % confidence."""
        return wilson_upper(self.wrong, self.audited)

    @property
    def is_too_wrong(self) -> bool:
        """Tell whether the layer must go off: found wrong, and not shown to be wrong seldom enough."""
        return self.reports >= _REPORTS or (self.wrong > 0 and self.bound > MOST_WRONG)


def wilson_upper(wrong: int, audited: int) -> float:
    """Return the upper end of Wilson's 95 % interval of a share; 1.0 where nothing was audited."""
    if audited == 0:
        return 1.0
    share = wrong / audited
    middle = share + _Z**2 / (2 * audited)
    spread = _Z * math.sqrt(share * (1 - share) / audited + _Z**2 / (4 * audited**2))
    return min(1.0, (middle + spread) / (1 + _Z**2 / audited))


def shares_of(share: float) -> Mapping[str, float]:
    """Return the share of hits to audit by layer: aliases, which a judge approved, ten times as often."""
    return {"exact": share, "alias": min(1.0, share * _ALIAS_FACTOR)}


def rerun_contract(hit: Hit) -> Contract:
    """Return what is run to see whether a hit was right: the hit's own contract, apart, and not urgent.

    Its judge is asked one thing more: whether the result is the one that the hit had.
    """
    asked = Contract.from_record(hit.contract)
    question = Criterion(_SAME_ANSWER + hit.source_output[:_MAX_SHOWN_CHARACTERS])
    return replace(
        asked,
        acceptance_criteria=(*asked.acceptance_criteria, question),
        budget=replace(asked.budget, max_repairs=0),
        priority=Priority.LOW,
        metadata={"audit_of": hit.task_id},
        deadline=None,
        callback_url=None,
        cache=CACHE_MODES["bypass"],
    )


def compare(rerun: Rerun) -> Opinion:
    """Say whether the hit had the right result, by what running it again gave: pure."""
    rejected = rerun.error is not None and rerun.error.get("code") == "validation_failed"
    if rerun.result is None or not (rerun.status == "completed" or rejected):
        return Opinion(None, f"the rerun {rerun.status} without a result")
    if _stable(rerun.result.get("data")) == _stable(rerun.source_result.get("data")):
        return Opinion(agrees=True, reason="equal results")
    for finding in (rerun.verdict or {}).get("findings", ()):
        if finding["criterion"].startswith(_SAME_ANSWER) and finding["met"] is not None:
            return Opinion(finding["met"], f"the judge: {finding['explanation']}")
    if rejected:
        return Opinion(agrees=False, reason="run again, the judge rejects it")
    return Opinion(None, "the results differ, and no model could compare them")


def sample(conn: Connection, *, share: float, limit: int) -> list[Hit]:
    """Return fresh hits that are to be audited: chosen by their ids, so that all sweepers choose the same."""
    shares = shares_of(share)
    values = {"exact": shares["exact"], "alias": shares["alias"], "limit": limit}
    return [Hit(*row) for row in conn.exec_driver_sql(_SQL["sample"], values)]


def open_audit(conn: Connection, hit: Hit, *, rerun_task_id: str) -> bool:
    """Note that a hit is run again; False when somebody else has."""
    values = {
        "task_id": hit.task_id,
        "tenant": hit.tenant,
        "layer": hit.layer,
        "source_task_id": hit.source_task_id,
        "rerun_task_id": rerun_task_id,
    }
    return conn.exec_driver_sql(_SQL["open_audit"], values).rowcount == 1


def ended_reruns(conn: Connection, *, limit: int) -> list[Rerun]:
    """Return audits whose reruns have ended, and lock them against other sweepers."""
    return [Rerun(*row) for row in conn.exec_driver_sql(_SQL["ended_reruns"], {"limit": limit})]


def decide(conn: Connection, task_id: str, opinion: Opinion) -> None:
    """Write what an audit found."""
    values = {"task_id": task_id, "agrees": opinion.agrees, "reason": opinion.reason}
    conn.exec_driver_sql(_SQL["decide"], values)


def report(conn: Connection, tenant: str, task_id: str, *, reason: str) -> str | None:
    """Note that a client calls the hit wrong and return its layer; None when the task was no hit."""
    values = {"tenant": tenant, "task_id": task_id, "reason": reason}
    layer: str | None = conn.exec_driver_sql(_SQL["report"], values).scalar_one_or_none()
    return layer


def standing_of(conn: Connection, tenant: str, layer: str) -> Standing:
    """Return the layer's record for the tenant."""
    values = {"tenant": tenant, "layer": layer, "days": WINDOW_DAYS}
    return Standing(*conn.exec_driver_sql(_SQL["standing"], values).one())


def switch_off(conn: Connection, tenant: str, layer: str, standing: Standing) -> None:
    """Have a layer answer nothing for the tenant until what it did wrong is WINDOW_DAYS ago."""
    reason = (
        f"{standing.wrong} of {standing.audited} audited hits were wrong (at most {standing.bound:.1%} with 95 % "
        f"confidence), {standing.reports} reported"
    )
    values = {"tenant": tenant, "layer": layer, "days": WINDOW_DAYS, "reason": reason}
    conn.exec_driver_sql(_SQL["switch_off"], values)


def _stable(value: Any) -> Any:
    """Return the value without what differs between two right runs."""
    if isinstance(value, Mapping):
        return {name: _stable(item) for name, item in value.items() if name not in _VOLATILE}
    if isinstance(value, list):
        return [_stable(item) for item in value]
    return value
