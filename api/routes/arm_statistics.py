"""GET /v1/arms/statistics: what each arm does now, and did in each of the last minutes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from marshmallow import EXCLUDE, Schema, fields, validate

from api.middleware import context
from api.middleware.auth import requires
from api.routes.arms import known_arms, status_of
from api.schemas.fields import Timestamp
from api.schemas.operation import describes
from api.schemas.requests import read
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.memory import arm_history, pools
from orchestrator.memory.arm_history import ArmHistory
from orchestrator.memory.pools import ArmStatistics
from orchestrator.models.arm_capability import ArmCapability
from orchestrator.orchestrator import Orchestrator

CACHE_SECONDS = 2.0
"""So old an answer may be: many tabs cost one reading."""
READING_SHARE = 10
"""An answer is kept so many times as long as its reading took, if that is longer: readings take a tenth of the time."""
MAX_MINUTES = 180
_MAX_KEPT = 64
_EXTENSION = "octollm_arm_statistics"

blueprint = Blueprint("arm_statistics", __name__, url_prefix="/v1")


class ArmStatisticsQuerySchema(Schema):
    """How many minutes to show, the current one included."""

    minutes = fields.Integer(load_default=60, validate=validate.Range(1, MAX_MINUTES))


class ArmMinuteSchema(ResponseSchema):
    """One minute of an arm, which begins `at`; `queued` and `busy` are averages over the minute."""

    at = Timestamp()
    finished = fields.Integer()
    failed = fields.Integer()
    p50_ms = fields.Float(allow_none=True)
    p95_ms = fields.Float(allow_none=True)
    queued = fields.Float()
    busy = fields.Float()


class ArmStatisticsSchema(ResponseSchema):
    """An arm now and in the last minutes; figures are of all tenants, but `cost_dollars` only of the caller's.

    `is_unserved`: steps are queued and no worker takes them; `outage` says why a live arm takes no steps.
    `success_rate`, `p50_ms` and `p95_ms` are null if nothing ended, `cost_dollars` if part of it is not known. Of an
    arm with very many steps only the latest are counted: figures before `complete_since` are too low.
    """

    arm_id = fields.String()
    name = fields.String()
    status = one_of("healthy", "degraded", "unavailable")
    queued = fields.Integer()
    oldest_queued_seconds = fields.Float(allow_none=True)
    workers = fields.Integer()
    busy = fields.Integer()
    slots = fields.Integer()
    is_unserved = fields.Boolean()
    outage = fields.String(allow_none=True)
    ended = fields.Integer()
    success_rate = fields.Float(allow_none=True)
    p50_ms = fields.Float(allow_none=True)
    p95_ms = fields.Float(allow_none=True)
    cost_dollars = fields.Float(allow_none=True)
    complete_since = Timestamp(allow_none=True)
    series = fields.List(fields.Nested(ArmMinuteSchema))


class ArmStatisticsListSchema(ResponseSchema):
    """All arms that the caller's tenant may use."""

    minutes = fields.Integer()
    arms = fields.List(fields.Nested(ArmStatisticsSchema))


class RecentAnswers:
    """Keeps answers for CACHE_SECONDS or longer; callers that ask for the same at the same time share one reading."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the answer for `key`, made now if there is none or it is too old; raises what `make` raises."""
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        with kept.lock:
            now = self._clock()
            if kept.answer is None or now > kept.good_until:
                kept.answer, end = make(), self._clock()
                kept.good_until = end + max(CACHE_SECONDS, READING_SHARE * (end - now))
            return kept.answer


class _Kept:
    """An answer, until when it is good, and the lock of who makes it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answer: dict[str, Any] | None = None
        self.good_until = 0.0


_QUERY = ArmStatisticsQuerySchema(unknown=EXCLUDE)
_REPLY = ArmStatisticsListSchema()


def install(app: Flask) -> None:
    """Give the app its store of recent answers."""
    app.extensions[_EXTENSION] = RecentAnswers()


@blueprint.get("/arms/statistics")
@describes(
    {200: ArmStatisticsListSchema, 304: None},
    query=ArmStatisticsQuerySchema,
    headers={"If-None-Match": "The ETag of an earlier response."},
)
@requires("arm:list")
def show(principal: Principal) -> Response:
    """Return what each arm does now and did in each of the last minutes; an answer may be 2 s old."""
    minutes: int = read(_QUERY, request.args)["minutes"]
    orchestrator = context.orchestrator()
    answers = cast(RecentAnswers, current_app.extensions[_EXTENSION])
    reply = answers.get(
        (principal.tenant, minutes), lambda: _read(orchestrator, principal.tenant, minutes=minutes)
    )
    response = jsonify(reply)
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def _read(orchestrator: Orchestrator, tenant: str, *, minutes: int) -> dict[str, Any]:
    with statement(orchestrator.engine) as conn:
        arms = known_arms(conn, orchestrator.settings, tenant)
        now = pools.arm_statistics(conn, arms=arms, tenant=tenant)
        history = arm_history.read(conn, [arm.arm_id for arm in arms], tenant=tenant, minutes=minutes)
    shown = [_describe(arm, now[arm.arm_id], history[arm.arm_id]) for arm in arms]
    return _REPLY.to_json({"minutes": minutes, "arms": shown})


def _describe(arm: ArmCapability, now: ArmStatistics, history: ArmHistory) -> dict[str, Any]:
    return {
        "arm_id": arm.arm_id,
        "name": arm.name,
        "status": status_of(now),
        "queued": now.queued,
        "oldest_queued_seconds": history.oldest_queued_seconds,
        "workers": now.workers,
        "busy": now.busy,
        "slots": now.concurrency,
        "is_unserved": now.queued > 0 and (now.workers == 0 or now.outage is not None),
        "outage": now.outage,
        "ended": history.attempts,
        "success_rate": history.successes / history.attempts if history.attempts else None,
        "p50_ms": history.p50_ms,
        "p95_ms": history.p95_ms,
        "cost_dollars": history.cost_dollars,
        "complete_since": history.complete_since,
        "series": history.minutes,
    }
