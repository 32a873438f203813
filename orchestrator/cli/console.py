"""`octollm console`: prints a link that signs in to the console once."""

from collections.abc import Iterable

import click

from orchestrator import settings
from orchestrator.auth import credential, sign_in_code
from orchestrator.cli.client import LOCAL_TENANT, ServerOptions, open_client
from orchestrator.cli.operator_session import entry_of, stack_environ, write_audit_entry
from orchestrator.connections.redis_client import open_client as open_redis
from orchestrator.models.errors import SettingsError
from orchestrator.settings import Signing
from orchestrator.settings_file import read_env_file

# as for tokens that `octollm token` signs: no API key, so that it can't be revoked
KEY_ID = "console"


@click.command()
@click.option("--tenant", default=LOCAL_TENANT, show_default=True, help="Whose tasks the console shows.")
@click.option(
    "--scopes", default="all", show_default=True, help="all, or some of: " + ", ".join(credential.SCOPES)
)
@click.pass_obj
def console(access: ServerOptions, tenant: str, scopes: str) -> None:
    """Print a link that signs in to the console once, within 15 minutes, and nothing else on stdout.

    It needs the server's JWT_PRIVATE_KEY and REDIS_URL (or those in $OCTOLLM_HOME/stack.env). The session lasts 12
    hours, belongs to no API key and can't be revoked: prefer an API key where the server is not your own.
    """
    read_env_file()
    environ = stack_environ()
    granted = credential.expand_scopes(name.strip() for name in scopes.split(",") if name.strip())
    redis_url = settings.read_texts(environ).get("REDIS_URL")
    if not redis_url:
        raise SettingsError("set REDIS_URL to the server's, or start `octollm up` first")
    signing = settings.load_signing(environ)
    url = open_client(access).url
    write_audit_entry(entry_of("session.link", tenant=tenant, key_id=None))
    click.echo(sign_in_link(url, signing, redis_url=redis_url, tenant=tenant, scopes=granted))


def sign_in_link(
    url: str,
    signing: Signing,
    *,
    redis_url: str,
    tenant: str = LOCAL_TENANT,
    scopes: Iterable[str] = credential.SCOPES,
) -> str:
    """Return an address of the console at `url` that signs in once, within 15 minutes. Raises Unavailable.

    The code is in the fragment, which browsers don't send: it appears in no server's or proxy's log.
    """
    with open_redis(redis_url) as client:
        code = sign_in_code.issue(
            client, tenant=tenant, key_id=KEY_ID, scopes=scopes, secret=credential.sign_in_secret(signing)
        )
    return f"{url}/sign-in#code={code}"
