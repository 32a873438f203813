"""Registers HTTP arms while the system runs, keeps them alive and takes them out of use."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine

from orchestrator.auth import credential
from orchestrator.auth.egress import EgressRules, execute_target
from orchestrator.chord.database import statement
from orchestrator.memory import registered_arms
from orchestrator.memory.registered_arms import Registration
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.arm_capability import ARMS, ArmCapability, canonical_arm
from orchestrator.models.errors import InvalidInput, InvalidOperation, NotFound, TenantLimit
from orchestrator.process.process_kind import KINDS
from orchestrator.registry.registration import read_registration
from orchestrator.settings import Settings


class NewLife(NamedTuple):
    """An arm that is available until `expires_at`; a heartbeat is due every `heartbeat_seconds`."""

    arm_id: str
    expires_at: datetime
    heartbeat_seconds: float


class RegisteredNow(NamedTuple):
    """The outcome of a registration: `secret` verifies our requests, `is_new` tells whether it was repeated."""

    arm: ArmCapability
    life: NewLife
    secret: str
    is_new: bool


class ArmRegistrar(NamedTuple):
    """Registers arms for one tenant; `subject` names who does it."""

    engine: Engine
    settings: Settings
    tenant: str
    subject: str

    def register(self, members: Mapping[str, Any], *, for_all: bool) -> RegisteredNow:
        """Make an arm available to the tenant or `for_all`, or replace it; repeating it is a heartbeat.

        `members` are those of orchestrator.registry.registration. Raises InvalidInput, InvalidOperation for an id that
        is taken, TenantLimit.
        """
        record = read_registration(members)
        self._check_url(record["url"])
        name = record["arm_id"]
        if canonical_arm(name) in list(ARMS) or name in KINDS:
            raise InvalidInput.at("arm_id", f"{name} is the name of an arm or a process of this system")
        wanted = Registration(
            arm_id=name if for_all else self._own(name),
            tenant=self.tenant,
            is_shared=for_all,
            manifest=record,
            url=record["url"],
            registered_by=self.subject,
        )
        registered = self._write(wanted, name)
        with statement(self.engine) as conn:
            found = registered_arms.find(conn, wanted.arm_id)
        if found is None:
            raise NotFound(f"The arm {wanted.arm_id} was deleted while it was registered.")
        life = NewLife(wanted.arm_id, registered.expires_at, self._heartbeat_seconds)
        secret = credential.arm_secret(self.settings, wanted.arm_id)
        return RegisteredNow(found.capability(), life, secret, registered.is_new)

    def beat(self, name: str) -> NewLife:
        """Extend the life of an arm of the tenant. Raises NotFound."""
        ttl_seconds = self.settings.arm_ttl_seconds
        for arm_id in (self._own(name), name):
            with tenant_statement(self.engine, self.tenant) as conn:
                expires_at = registered_arms.beat(conn, arm_id, tenant=self.tenant, ttl_seconds=ttl_seconds)
            if expires_at is not None:
                return NewLife(arm_id, expires_at, self._heartbeat_seconds)
        raise self._unknown(name)

    def withdraw(self, name: str) -> str:
        """Take an arm of the tenant out of use and return its id; steps that name it fail. Raises NotFound."""
        for arm_id in (self._own(name), name):
            with tenant_statement(self.engine, self.tenant) as conn:
                if registered_arms.withdraw(conn, arm_id, tenant=self.tenant):
                    return arm_id
        raise self._unknown(name)

    def shares(self, name: str) -> bool:
        """Return whether the tenant has registered an arm of this name for all tenants."""
        with statement(self.engine) as conn:
            arm = registered_arms.find(conn, name)
        return arm is not None and arm.is_shared and arm.tenant == self.tenant

    @property
    def _heartbeat_seconds(self) -> float:
        # two may be lost
        return self.settings.arm_ttl_seconds / 3

    def _own(self, name: str) -> str:
        return f"{self.tenant}/{name}"

    def _unknown(self, name: str) -> NotFound:
        return NotFound(f"Tenant {self.tenant} has registered no arm {name[:64]!r}, or has deleted it.")

    def _check_url(self, url: str) -> None:
        rules = EgressRules.for_arms(self.settings)
        if not rules.allows_any:
            raise InvalidInput.at(
                "url", "HTTP arms are switched off here: the operator sets ARM_ALLOWED_HOSTS"
            )
        execute_target(url, rules)

    def _write(self, wanted: Registration, name: str) -> registered_arms.Registered:
        other = self._own(name) if wanted.is_shared else name
        with statement(self.engine) as conn:
            before = registered_arms.find(conn, wanted.arm_id)
            twin = registered_arms.find(conn, other)
        if before is not None and before.tenant != self.tenant:
            raise InvalidOperation(f"The arm {name} was registered by another tenant; choose another arm_id.")
        if twin is not None and twin.tenant == self.tenant and not twin.is_withdrawn:
            raise InvalidOperation(
                f"The arm {name} is registered as {other}: delete that one first, or choose another arm_id."
            )
        manifest = registered_arms.keep_retired(wanted.manifest, before)
        with tenant_statement(self.engine, self.tenant) as conn:
            registered = registered_arms.register(
                conn,
                replace(wanted, manifest=manifest),
                ttl_seconds=self.settings.arm_ttl_seconds,
                max_arms=self.settings.tenant_max_arms,
            )
        if registered is None:
            raise TenantLimit(
                f"Tenant {self.tenant} has registered {self.settings.tenant_max_arms} arms, or deleted many a short "
                "time ago: delete one, or wait a day.",
                details={"setting": "TENANT_MAX_ARMS", "retry_after": 3600},
            )
        return registered
