"""Makes new secrets for compose.yaml and the chart, a file each: `python make_secrets.py DIRECTORY`, a new one.

Each kind of process gets its own login of Postgres and its own user of Valkey, whose rights are those of its work. The
directory is closed to others, and the files in it are readable, because a container reads them as another user.
"""

import argparse
import base64
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.models import signing_key
from orchestrator.process.process_kind import KINDS, ROLES

_ACL: Final = Path(__file__).parent / "redis" / "users.acl"
_MODELS: Final = """\
# Read by the kinds of process that ask models; every kind needs LLM_CHAIN, which belongs into octollm.env.
# docs/how-to/use-a-model.md
#OPENAI_API_KEY=
#ANTHROPIC_API_KEY=
"""


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--arm", default="", help="an arm of your own, which the service `arms` serves")
    parser.add_argument(
        "--postgres", default="postgres:5432", metavar="HOST:PORT", help="its address for the containers"
    )
    parser.add_argument(
        "--redis", default="valkey:6379", metavar="HOST:PORT", help="its address for the containers"
    )
    chosen = parser.parse_args()
    try:
        chosen.directory.mkdir(mode=0o700)
    except OSError as error:
        sys.exit(
            f"{chosen.directory} can't be made ({error.strerror}): secrets that exist are not replaced; move them away"
        )
    for name, text in contents(chosen).items():
        (chosen.directory / name).write_text(text)
        (chosen.directory / name).chmod(0o644)


def contents(chosen: argparse.Namespace) -> Mapping[str, str]:
    """Return {file name: text} for `arm` and the addresses `postgres` and `redis`."""
    acl = _ACL.read_text()
    passwords = {kind: secrets.token_hex(24) for kind in (*KINDS, "operator", "scaler")}
    for kind, password in passwords.items():
        acl = acl.replace(f">CHANGE_ME_{kind.upper()} ", f">{password} ")
    owner = secrets.token_hex(24)
    permit, token = signing_key.new_private_key(), signing_key.new_private_key()
    return {
        "users.acl": acl.replace("~arm.CHANGE_ME", f"~arm.{chosen.arm or 'none'}"),
        "postgres-password": owner,
        "postgres-logins.sql": "".join(
            _login(kind, group, passwords[kind])
            for kind, group in {**ROLES, "scaler": "octollm_scaler"}.items()
        ),
        "database-url-owner": f"postgresql://octollm:{owner}@{chosen.postgres}/octollm",
        **{
            f"database-url-{kind}": f"postgresql://octollm_{kind}_login:{passwords[kind]}@{chosen.postgres}/octollm"
            for kind in ROLES
        },
        "scaler-connection": f"postgresql://octollm_scaler_login:{passwords['scaler']}@{chosen.postgres}/octollm",
        **{
            f"redis-url-{kind}": f"redis://octollm-{kind}:{passwords[kind]}@{chosen.redis}/0"
            for kind in (*KINDS, "operator")
        },
        "jwt-private-key": token,
        "permit-private-key": permit,
        "permit-public-key": signing_key.public_key_of(permit),
        **{
            name: base64.b64encode(secrets.token_bytes(48)).decode()
            for name in ("cache-secret", "webhook-secret", "arm-secret")
        },
        "metrics-token": secrets.token_hex(24),
        "models.env": _MODELS,
    }


def _login(kind: str, group: str, password: str) -> str:
    """Return SQL that makes the login of a kind; `octollm migrate` gives its group the rights later."""
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{group}') "
        f"THEN CREATE ROLE {group} NOLOGIN; END IF; END $$;\n"
        f"CREATE ROLE octollm_{kind}_login LOGIN PASSWORD '{password}' IN ROLE {group};\n"
    )


if __name__ == "__main__":
    main()
