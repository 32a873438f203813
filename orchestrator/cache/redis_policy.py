"""Rejects a Redis whose eviction policy may delete queues: queues and cache share one server."""

import redis
import structlog

from orchestrator.connections.redis_client import open_client
from orchestrator.models.errors import SettingsError

FORBIDDEN = "allkeys-"
ADVICE = "CONFIG SET maxmemory-policy noeviction (or volatile-lru), and in its configuration file"

log = structlog.get_logger(__name__)


def policy_of(client: "redis.Redis") -> str:
    """Return the server's maxmemory-policy; works without permission for CONFIG."""
    return str(client.info("memory").get("maxmemory_policy", "noeviction"))


def refuse_eviction(redis_url: str) -> None:
    """Raise SettingsError if the server may evict keys that have no time to live, which would delete messages.

    An unreachable server passes: it may return, and whatever needs it reports its absence.
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
