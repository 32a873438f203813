"""Gives gunicorn's own lines, its master's too, the form of all others: `--logger-class` names this class."""

from gunicorn.config import Config
from gunicorn.glogging import Logger

from orchestrator import settings
from orchestrator.observability import log


class GunicornLog(Logger):  # type: ignore[misc]  # theirs is untyped
    """gunicorn's logger, written by ours."""

    def setup(self, cfg: Config) -> None:
        """Set up as gunicorn does, then take its handlers away."""
        super().setup(cfg)
        log.configure(settings.load(), service="api")
