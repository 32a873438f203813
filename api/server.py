"""What gunicorn has to know of us: `--config python:api.server` names this module."""

from typing import Any

from api.audit import buffer_of
from api.current import hub_of

# else a SCRIPT_NAME header that comes through a proxy on this machine, from anybody, is believed, and answered with 500
forwarder_headers = ""

# they hold a thread each; what is left answers everything else
_THREADS_WITHOUT_STREAM = 16


def post_worker_init(worker: Any) -> None:
    """Leave threads free of streams, and end all streams as soon as the worker is told to stop.

    Otherwise gunicorn waits for them for its graceful timeout, 30 s, and cuts them off without a word.
    """
    hub = hub_of(worker.wsgi)
    hub.limit = max(worker.cfg.threads - _THREADS_WITHOUT_STREAM, 1)
    hub.is_leaving = lambda: not worker.alive


def worker_exit(_server: Any, worker: Any) -> None:
    """Write what is still to be written to the audit log, when a worker ends."""
    # a worker that failed to start has no app
    if worker.wsgi is not None:
        buffer_of(worker.wsgi).close()
