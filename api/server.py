"""What gunicorn has to know of us: `--config python:api.server` names this module."""

import resource
from typing import Any

from api.middleware.audit import buffer_of
from api.middleware.context import hub_of, orchestrator_of
from api.routes.files import MULTIPART_OVERHEAD_BYTES

# else a SCRIPT_NAME header that comes through a proxy on this machine, from anybody, is believed, and answered with 500
forwarder_headers = ""

# they hold a thread each; what is left answers everything else
_THREADS_WITHOUT_STREAM = 16
_MAX_FILES = 65_536


def post_worker_init(worker: Any) -> None:
    """Leave threads free of streams, and end all streams as soon as the worker is told to stop.

    Otherwise gunicorn waits for them for its graceful timeout, 30 s, and cuts them off without a word. Every connection
    is an open file, so the worker may open as many as the system allows.
    """
    settings = orchestrator_of(worker.wsgi).settings
    worker.max_body_bytes = max(settings.max_body_bytes, settings.max_file_bytes + MULTIPART_OVERHEAD_BYTES)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE,
        (_MAX_FILES if most == resource.RLIM_INFINITY else min(most, _MAX_FILES), most),
    )
    hub = hub_of(worker.wsgi)
    hub.limit = max(worker.cfg.threads - _THREADS_WITHOUT_STREAM, 1)
    hub.is_leaving = lambda: not worker.alive


def worker_exit(_server: Any, worker: Any) -> None:
    """Write what is still to be written to the audit log, when a worker ends."""
    # a worker that failed to start has no app
    if worker.wsgi is not None:
        buffer_of(worker.wsgi).close()
