"""Refuses a Redis that deletes whatever it likes when memory is short: queues and cache share one."""

import redis
import structlog

from orchestrator.connections.redis_client import open_client
from orchestrator.models.errors import SettingsError

FORBIDDEN = "allkeys-"
ADVICE = "CONFIG SET maxmemory-policy noeviction (or volatile-lru), and in its configuration file"

log = structlog.get_logger(__name__)


def policy_of(client: "redis.Redis") -> str:
    """Return the server's maxmemory-policy, also where CONFIG is forbidden."""
    return str(client.info("memory").get("maxmemory_policy", "noeviction"))


def refuse_eviction(redis_url: str) -> None:
    """Raise SettingsError when the server may evict keys without a time to live: it would delete messages.

    A server that is away is let pass: it may come back, and all that needs it says so itself.
    """
    client = open_client(redis_url)
    try:
        policy = policy_of(client)
    except redis.RedisError as error:
        log.warning("redis.not_examined", error=type(error).__name__)
        return
    finally:
        client.close()
    if policy.startswith(FORBIDDEN):
        raise SettingsError(
            f"REDIS_URL is wrong: its server's maxmemory-policy is {policy}, which deletes queues when memory is "
            f"short; {ADVICE}"
        )
