"""A caller's right to go on with what takes long: asked for again while a stream or a long poll is open.

A call's right is checked when it begins; a stream may be open for days, and its key may be revoked meanwhile.
"""

import time

from flask import current_app

from api.middleware.auth import key_watch_of, require_scope
from orchestrator.auth.credential import Principal
from orchestrator.models.errors import InvalidCredential

# with what api.middleware.auth remembers of a key, a stream outlives its key's revocation by 20 s at most
RECHECK_SECONDS = 15.0


class Right:
    """The right of one caller, with one scope; make it in the request that it is for.

    It was checked when the stream began, unless `is_asked` says otherwise.
    """

    def __init__(self, principal: Principal, scope: str, *, is_asked: bool = True) -> None:
        self._principal = principal
        self._scope = scope
        # what sends a response's body may have no app context
        self._watch = key_watch_of(current_app)
        self._due_at = time.monotonic() + (RECHECK_SECONDS if is_asked else 0.0)

    @property
    def seconds_left(self) -> float:
        """In how many seconds, 0 at the least, `require` has to be called again."""
        until = (self._principal.expires_at or float("inf")) - time.time()
        return max(0.0, min(until, self._due_at - time.monotonic()))

    def require(self) -> None:
        """Return if the caller may go on. It asks the database when that is due, and may be called at any time.

        Raises InvalidCredential, Forbidden, and SQLAlchemyError when the database is away.
        """
        expires_at = self._principal.expires_at
        if expires_at is not None and expires_at <= time.time():
            raise InvalidCredential("The token has expired.", details={"reason": "expired"})
        if time.monotonic() >= self._due_at:
            self._watch.require(self._principal.key_id)
            require_scope(self._principal, self._scope)
            self._due_at = time.monotonic() + RECHECK_SECONDS
