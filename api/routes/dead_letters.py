"""Dead letters over HTTP: steps that were given up because they killed their workers, and how to replay them."""

from flask import Blueprint, Flask, Response, jsonify, request

from api.middleware import context
from api.middleware.auth import requires
from api.schemas import requests, responses, serializers
from api.schemas.operation import describes
from orchestrator.auth.credential import Principal
from orchestrator.memory import dead_letters
from orchestrator.memory.tenancy import tenant_statement

blueprint = Blueprint("dead", __name__, url_prefix="/v1")


def install(app: Flask) -> None:
    """Add the endpoint."""
    app.register_blueprint(blueprint)


@blueprint.get("/dead-steps")
@describes({200: responses.DeadPage}, query=requests.DeadQuery)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's steps that failed with poison_step, newest first; POST to links.retry runs one again."""
    query = requests.read(requests.DEAD, request.args)
    limit, cursor = query["limit"], query["cursor"]
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = dead_letters.list_dead(conn, principal.tenant, limit=limit + 1, before=cursor and str(cursor))
    page = found[:limit]
    return jsonify(serializers.dead_list(page, next_cursor=page[-1].id if len(found) > limit else None))
