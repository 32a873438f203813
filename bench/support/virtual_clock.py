"""A clock for Postgres and Valkey that the benchmark advances, so that hours pass in minutes and entries expire."""

from pathlib import Path
from typing import Final

import redis
from sqlalchemy import Engine, make_url

from orchestrator.chord import sql
from orchestrator.chord.database import open_engine, statement

_SQL: Final = sql.load(__file__)
_LUA: Final = Path(__file__).with_suffix(".lua").read_text("utf-8")
_CACHE: Final = "octollm:cache:*"
_STEP_SECONDS: Final = 30.0


class VirtualClock:
    """Postgres' now() follows `advance` at once, the TTLs of the cache's keys in Valkey within half a minute of it.

    `database_url` is the database's address with the clock in it; whoever asks for now() over it gets ours.
    """

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = (
            make_url(database_url)
            .update_query_dict({"options": "-csearch_path=public,clock,pg_catalog"})
            .render_as_string(hide_password=False)
        )
        self._engine: Engine = open_engine(database_url, pool_size=1)
        self._redis = redis.Redis.from_url(redis_url)
        self._age = self._redis.register_script(_LUA)
        self._aged_at = 0.0
        with statement(self._engine) as conn:
            conn.exec_driver_sql(_SQL["make"])

    def advance(self, to: float) -> None:
        """Set the clock to `to` seconds after the start."""
        with statement(self._engine) as conn:
            conn.exec_driver_sql(_SQL["set"], {"passed_ms": round(to * 1000)})
        if to - self._aged_at >= _STEP_SECONDS:
            self._age(args=[_CACHE, round((to - self._aged_at) * 1000)])
            self._aged_at = to

    def close(self) -> None:
        """Remove the clock from the database and close the connections."""
        with statement(self._engine) as conn:
            conn.exec_driver_sql(_SQL["remove"])
        self._engine.dispose()
        self._redis.close()
