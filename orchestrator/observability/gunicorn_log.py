"""The class for gunicorn's `--logger-class`, which writes its log lines, including the master's, through our log."""

from gunicorn.config import Config
from gunicorn.glogging import Logger

from orchestrator import settings
from orchestrator.observability import log


class GunicornLog(Logger):  # type: ignore[misc]  # gunicorn is untyped
    """Gunicorn's logger, without handlers of its own."""

    def setup(self, cfg: Config) -> None:
        """Set up as gunicorn does, then replace its handlers by ours."""
        super().setup(cfg)
        log.configure(settings.load(), service="api")
