"""Shapes the errors of a blueprint as OpenAI's SDKs read them: a problem with OpenAI's error object in `error`."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import HTTPException

from api.middleware import problem
from orchestrator.models.errors import OctoError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


def install(blueprint: Blueprint) -> None:
    """Answer all errors of the blueprint's views in this shape."""
    blueprint.register_error_handler(OctoError, lambda error: _shaped(problem.from_octo_error(error)))
    blueprint.register_error_handler(HTTPException, _from_http)
    blueprint.register_error_handler(Exception, lambda error: _shaped(problem.from_unexpected(error)))


def _from_http(error: HTTPException) -> Response | HTTPException:
    response = problem.from_http(error)
    return _shaped(response) if isinstance(response, Response) else response


def _shaped(response: Response) -> Response:
    """Add {type, param} to `error`, and answer an invalid request with OpenAI's status, 400.

    A conflict has the header with which the server tells the SDKs not to repeat the request: they would otherwise.
    """
    body: dict[str, Any] = response.get_json()
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        response.status_code = HTTPStatus.BAD_REQUEST
        body |= {"status": response.status_code, "title": HTTPStatus.BAD_REQUEST.phrase}
    faults = body["details"].get("errors") or [{}]
    body["error"] |= {
        "type": _TYPES.get(
            response.status_code, "server_error" if response.status_code >= 500 else "invalid_request_error"
        ),
        "param": faults[0].get("field"),
    }
    response.set_data(jsonify(body).get_data())
    if response.status_code == HTTPStatus.CONFLICT:
        response.headers["X-Should-Retry"] = "false"
    return response
