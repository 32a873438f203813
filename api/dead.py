"""Dead letters over HTTP: steps that were given up because they killed their workers, and how to replay them."""

from flask import Blueprint, Flask, Response, jsonify, request

from api import current, replies, schemas, shapes
from api.auth import requires
from api.operation import describes
from orchestrator.credential import Principal
from orchestrator.store import dead_letters
from orchestrator.store.engine import statement

blueprint = Blueprint("dead", __name__, url_prefix="/v1")


def install(app: Flask) -> None:
    """Add the endpoint."""
    app.register_blueprint(blueprint)


@blueprint.get("/dead-steps")
@describes({200: shapes.DeadPage}, query=schemas.DeadQuery)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's steps that failed with poison_step, newest first; POST to links.retry runs one again."""
    query = schemas.read(schemas.DEAD, request.args)
    limit, cursor = query["limit"], query["cursor"]
    with statement(current.orchestrator().engine, tenant=principal.tenant) as conn:
        found = dead_letters.list_dead(conn, principal.tenant, limit=limit + 1, before=cursor and str(cursor))
    page = found[:limit]
    return jsonify(replies.dead_list(page, next_cursor=page[-1].id if len(found) > limit else None))
