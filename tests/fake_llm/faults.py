"""The ways in which a scripted answer fails."""

from enum import StrEnum


class Fault(StrEnum):
    """How an answer fails; a model named `fake-` plus one of these words always fails in that way."""

    NONE = "none"
    RATE_LIMITED = "rate_limited"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    UNAUTHORISED = "unauthorised"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    NO_SCHEMA = "no_schema"
    HANG = "hang"
    DRIP = "drip"
    DRIP_HEADERS = "drip_headers"
    FLOOD = "flood"
    RESET = "reset"
    CUT_BODY = "cut_body"
    TRUNCATED_STREAM = "truncated_stream"
    ERROR_IN_STREAM = "error_in_stream"
    BAD_JSON = "bad_json"
    HTML = "html"
    EMPTY_BODY = "empty_body"
    EMPTY_OBJECT = "empty_object"
    EMPTY = "empty"
    REFUSAL = "refusal"
    LENGTH = "length"


# fault -> status, and the error's type
STATUSES = {
    Fault.RATE_LIMITED: (429, "rate_limit_error"),
    Fault.INSUFFICIENT_QUOTA: (429, "insufficient_quota"),
    Fault.SERVER_ERROR: (500, "api_error"),
    Fault.OVERLOADED: (529, "overloaded_error"),
    Fault.UNAUTHORISED: (401, "authentication_error"),
    Fault.NOT_FOUND: (404, "not_found_error"),
    Fault.TOO_LARGE: (413, "request_too_large"),
    Fault.NO_SCHEMA: (400, "invalid_request_error"),
}


BODIES = {
    Fault.BAD_JSON: ("application/json", b'{"id": "chatcmpl-fake-0", "choices": [{"mess'),
    Fault.HTML: ("text/html", b"<!doctype html><title>Sign in to the guest network</title>"),
    Fault.EMPTY_BODY: ("application/json", b""),
    Fault.EMPTY_OBJECT: ("application/json", b"{}"),
}
