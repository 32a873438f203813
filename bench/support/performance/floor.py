"""The floor of bench/task.py: for each row of a fan8 task one Postgres commit, and one Redis push and pop.

Nothing else: no claim, no lease, no fencing, no events. A task of fan8 has ten rows: plan, eight steps, judge.

    python -m bench.support.performance.floor DATABASE_URL REDIS_URL
"""

import sys
import threading
import time
from itertools import count
from typing import Any, Final

import psycopg2
import redis
from sqlalchemy.engine import make_url

from bench.support.performance import driver

THREADS: Final = 8
STEPS: Final = 8
TABLE: Final = "CREATE TABLE IF NOT EXISTS bench_floor (run bigint, name text, PRIMARY KEY (run, name))"
_QUEUE: Final = "bench-floor"


class Floor:
    """Threads that pop a row's name, commit it, and push what follows."""

    def __init__(self, database: str, broker: str) -> None:
        self._database = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
        self._client = redis.Redis.from_url(broker, decode_responses=True, socket_timeout=None)
        self._runs = count(time.time_ns())
        self._left: dict[int, int] = {}
        self._ends: dict[int, threading.Event] = {}
        self._lock = threading.Lock()
        with psycopg2.connect(self._database) as conn, conn.cursor() as cursor:
            cursor.execute(TABLE)
        for _ in range(THREADS):
            threading.Thread(target=self._work, daemon=True).start()

    def run(self, _plan: str) -> tuple[float, None]:
        """Run one fan8 to its end."""
        run = next(self._runs)
        self._left[run] = STEPS
        ended = self._ends[run] = threading.Event()
        began = time.monotonic()
        self._client.lpush(_QUEUE, f"{run} plan")
        ended.wait()
        return 1000 * (time.monotonic() - began), None

    def _work(self) -> None:
        conn = psycopg2.connect(self._database)
        conn.autocommit = True
        with conn.cursor() as cursor:
            while True:
                self._do(cursor, *self._client.brpop([_QUEUE])[1].split())

    def _do(self, cursor: Any, run_text: str, name: str) -> None:
        run = int(run_text)
        cursor.execute("INSERT INTO bench_floor VALUES (%s, %s)", (run, name))
        if name == "plan":
            for number in range(STEPS):
                self._client.lpush(_QUEUE, f"{run} s{number}")
        elif name == "judge":
            self._ends.pop(run).set()
        elif self._is_last(run):
            self._client.lpush(_QUEUE, f"{run} judge")

    def _is_last(self, run: int) -> bool:
        with self._lock:
            self._left[run] -= 1
            return self._left[run] == 0


if __name__ == "__main__":
    driver.serve(Floor(sys.argv[1], sys.argv[2]).run)
