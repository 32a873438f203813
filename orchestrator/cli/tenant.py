"""octollm tenant: deletes a tenant with everything that is stored of it."""

import json
from dataclasses import asdict

import click

from orchestrator import settings
from orchestrator.cache.exact import ResultCache
from orchestrator.chord.database import open_engine, statement
from orchestrator.cli.operator import database_errors, stack_environ
from orchestrator.cli.operator_audit import entry_of
from orchestrator.lifecycle.tenant_deletion import delete_tenant
from orchestrator.memory import audit_log


@click.group()
def tenant() -> None:
    """Delete a tenant."""


@tenant.command()
@click.argument("name", metavar="TENANT")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def delete(*, name: str, yes: bool, as_json: bool) -> None:
    """Revoke the keys of TENANT, cancel its tasks, and delete its tasks, files and cached results.

    It can't be undone. Calling it twice is safe, and deletes what came in between: a token is good for up to five
    seconds after its key was revoked, and an identity provider's token is not revoked at all. The audit log keeps what
    it has of the tenant, for AUDIT_RETENTION_DAYS.
    """
    if not yes:
        click.confirm(f"Delete the tenant {name!r} with all its tasks and files?", abort=True, err=True)
    known = settings.load(stack_environ())
    engine = open_engine(known.database_url, pool_size=1)
    try:
        with database_errors():
            # first: a deletion that breaks off has happened too
            with statement(engine) as conn:
                audit_log.append(conn, [entry_of("tenant.delete", tenant=name, thing=None)])
            gone = delete_tenant(engine, name, forget_result=ResultCache(known).forget)
    finally:
        engine.dispose()
    if as_json:
        click.echo(json.dumps({"tenant": name, **asdict(gone)}))
        return
    click.echo(
        f"{name}: {gone.keys_revoked} keys revoked, {gone.tasks_cancelled} tasks cancelled, {gone.tasks_deleted} tasks "
        f"and {gone.files_deleted} files deleted, {gone.cache_entries_dropped} cached results dropped"
    )
