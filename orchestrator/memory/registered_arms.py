"""Stores the arms that are registered at run time, and finds them for every process that looks arms up."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

from orchestrator.chord import sql
from orchestrator.chord.database import is_away, statement
from orchestrator.models.arm_capability import (
    REGISTERED,
    REMOTE,
    REMOTE_QUEUE,
    ArmCapability,
    arm_of,
)
from orchestrator.models.record import encode

FRESH_SECONDS: Final = 1.0
"""How old a found arm, or the list of a tenant's arms, may be."""
_MOST_KEPT: Final = 1000
_MAX_ID_CHARACTERS: Final = 200
_DESCRIBED: Final = ("name", "description", "version", "cost_tier", "max_concurrent_tasks")
RETIRED: Final = "retired"
"""The member of a stored manifest with the actions that later registrations left out."""
_MOST_RETIRED: Final = 100

_SQL = sql.load(__file__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True)
class RegisteredArm:
    """A registered arm: `arm_id` is tenant/arm, or the bare id of a shared one.

    `expired_seconds` is the time since it expired, negative while it is available.
    """

    arm_id: str
    tenant: str
    is_shared: bool
    manifest: Mapping[str, Any]
    url: str
    expires_at: datetime
    is_withdrawn: bool
    expired_seconds: float

    @property
    def is_live(self) -> bool:
        """Return whether its last heartbeat is recent enough."""
        return self.expired_seconds < 0

    def capability(self, *, with_retired: bool = False) -> ArmCapability:
        """Return the arm as the registry's readers see it; what the manifest says of processes does not count.

        `with_retired`: with the actions of earlier registrations, which open steps may name.
        """
        retired = self.manifest.get(RETIRED, {}) if with_retired else {}
        return arm_of(
            {
                **{member: self.manifest[member] for member in _DESCRIBED},
                "actions": {**retired, **self.manifest["actions"]},
                "arm_id": self.arm_id,
                "kind": "http",
                "url": self.url,
                "source": REGISTERED,
                "tenant": None if self.is_shared else self.tenant,
                "queue": REMOTE_QUEUE,
                "process": REMOTE,
                "pool": "threads",
                "in_plans": not self.is_withdrawn,
                "is_required": False,
            }
        )


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What a registration writes; `manifest` is complete, `arm_id` as in RegisteredArm."""

    arm_id: str
    tenant: str
    is_shared: bool
    manifest: Mapping[str, Any]
    url: str
    registered_by: str


def keep_retired(manifest: Mapping[str, Any], before: RegisteredArm | None) -> dict[str, Any]:
    """Return a new manifest with the actions that only the earlier registration has, as retired ones."""
    if before is None:
        return dict(manifest)
    earlier = {**before.manifest.get(RETIRED, {}), **before.manifest["actions"]}
    retired = [(name, action) for name, action in earlier.items() if name not in manifest["actions"]]
    return {**manifest, RETIRED: dict(retired[-_MOST_RETIRED:])}


class Registered(NamedTuple):
    """The outcome of a registration."""

    registered_at: datetime
    expires_at: datetime
    is_new: bool


def register(
    conn: Connection, wanted: Registration, *, ttl_seconds: float, max_arms: int
) -> Registered | None:
    """Write a registration, or repeat it; safe to call twice.

    None: the arm belongs to another tenant, or the tenant has `max_arms` others.
    """
    values = {**vars(wanted), "manifest": encode(wanted.manifest)}
    values |= {"ttl_seconds": ttl_seconds, "max_arms": max_arms}
    row = conn.exec_driver_sql(_SQL["register"], values).one_or_none()
    return Registered(*row) if row else None


def beat(conn: Connection, arm_id: str, *, tenant: str, ttl_seconds: float) -> datetime | None:
    """Extend an arm's life and return its new end; None if the tenant has no such arm."""
    values = {"arm_id": arm_id, "tenant": tenant, "ttl_seconds": ttl_seconds}
    end: datetime | None = conn.exec_driver_sql(_SQL["beat"], values).scalar_one_or_none()
    return end


def withdraw(conn: Connection, arm_id: str, *, tenant: str) -> bool:
    """Take an arm out of use; False if the tenant has no such arm."""
    return conn.exec_driver_sql(_SQL["withdraw"], {"arm_id": arm_id, "tenant": tenant}).rowcount == 1


def find(conn: Connection, arm_id: str) -> RegisteredArm | None:
    """Return an arm, also an expired or withdrawn one."""
    row = conn.exec_driver_sql(_SQL["find"], {"arm_id": arm_id}).mappings().one_or_none()
    return RegisteredArm(**row) if row else None


def offered(conn: Connection, tenant: str) -> list[RegisteredArm]:
    """Return the arms that the tenant may name in a plan, expired ones too, by id."""
    rows = conn.exec_driver_sql(_SQL["offered"], {"tenant": tenant}).mappings()
    return [RegisteredArm(**row) for row in rows]


def report_outage(conn: Connection, arm_id: str, *, seconds: float, reason: str) -> None:
    """Record that an arm's circuit breaker is open for the next `seconds`."""
    conn.exec_driver_sql(_SQL["report_outage"], {"arm": arm_id, "seconds": seconds, "reason": reason})


def end_outage(conn: Connection, arm_id: str) -> None:
    """Record that an arm answers again; safe to call twice."""
    conn.exec_driver_sql(_SQL["end_outage"], {"arm": arm_id})


def forget(conn: Connection, *, after_seconds: float, limit: int) -> int:
    """Delete arms and outages that ended so long ago, unless an open task names the arm; return how many arms."""
    conn.exec_driver_sql(_SQL["forget_outages"], {"after_seconds": after_seconds})
    values = {"after_seconds": after_seconds, "limit": limit}
    return conn.exec_driver_sql(_SQL["forget"], values).rowcount


class RegisteredArms:
    """The registered arms for ARMS.attach: what is found, or not found, is kept for FRESH_SECONDS; thread-safe.

    While Postgres is away, what was found before is returned at any age. Without `offers_any` no arm is listed.
    """

    def __init__(self, engine: Engine, *, offers_any: bool = True) -> None:
        self._engine = engine
        self._offers_any = offers_any
        self._found: _Kept[str, ArmCapability | None] = _Kept()
        self._offered: _Kept[str, tuple[ArmCapability, ...]] = _Kept()

    def find(self, arm_id: str) -> ArmCapability | None:
        """Return the arm, also an expired or withdrawn one: steps that name it keep its contract."""
        # plans name any text, up to 1 MiB, and what is not found is kept too
        if len(arm_id) > _MAX_ID_CHARACTERS or not arm_id.isprintable():
            return None

        def read() -> ArmCapability | None:
            with statement(self._engine) as conn:
                found = find(conn, arm_id)
            if found is None:
                return None
            arm = found.capability(with_retired=True)
            return arm if self._offers_any else replace(arm, in_plans=False)

        return self._found.get(arm_id, read)

    def visible(self, tenant: str) -> tuple[ArmCapability, ...]:
        """Return the arms that the tenant may name in a plan; arms that are expired too, as they may come back."""

        def read() -> tuple[ArmCapability, ...]:
            with statement(self._engine) as conn:
                return tuple(arm.capability() for arm in offered(conn, tenant))

        return self._offered.get(tenant, read) if self._offers_any else ()


class _Kept(Generic[K, T]):
    """The last values of reads by key, each for FRESH_SECONDS; the ones that were used last, at most _MOST_KEPT."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[K, tuple[float, T]] = OrderedDict()

    def get(self, key: K, read: Callable[[], T]) -> T:
        """Return a fresh value; raises what `read` raises, unless Postgres is away and an older value is there."""
        now = time.monotonic()
        with self._lock:
            known = self._values.get(key)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            value = read()
        except Exception as error:
            if known is None or not is_away(error):
                raise
            return known[1]
        with self._lock:
            self._values[key] = (now, value)
            self._values.move_to_end(key)
            if len(self._values) > _MOST_KEPT:
                self._values.popitem(last=False)
        return value
