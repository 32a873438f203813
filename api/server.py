"""Gunicorn's configuration, named by `--config python:api.server`. Its main process imports the app for all others."""

# ruff: noqa: E402, F401 - the imports come after start_lean; some are there so that no request waits for them

from orchestrator.process import lean

lean.start_lean()

import resource
from typing import Any

import api.app
import orchestrator.safety.redaction
import orchestrator.similarity.difference
from api.middleware.audit import buffer_of
from api.middleware.context import orchestrator_of
from api.routes.files import MULTIPART_OVERHEAD_BYTES
from api.streaming.hub import hub_of
from orchestrator.observability import tracing

# else gunicorn trusts a SCRIPT_NAME header that any client sends through a proxy on this machine, and answers 500
forwarder_headers = ""

# each stream holds a thread; these remain for all other requests
_THREADS_WITHOUT_STREAM = 16
_MAX_FILES = 65_536


def when_ready(_server: Any) -> None:
    """Let the workers share the main process' memory, before they are forked."""
    lean.settle()


def post_worker_init(worker: Any) -> None:
    """Reserve threads for requests other than streams, and end all streams when the worker stops.

    Otherwise gunicorn waits for the streams for its graceful timeout, 30 s, and then cuts them off without a close
    frame. Every connection is an open file, so the worker raises its limit as far as the system allows.
    """
    tracing.open_early()
    settings = orchestrator_of(worker.wsgi).settings
    worker.max_body_bytes = max(settings.max_body_bytes, settings.max_file_bytes + MULTIPART_OVERHEAD_BYTES)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE,
        (_MAX_FILES if hard_limit == resource.RLIM_INFINITY else min(hard_limit, _MAX_FILES), hard_limit),
    )
    hub = hub_of(worker.wsgi)
    hub.max_streams = max(worker.cfg.threads - _THREADS_WITHOUT_STREAM, 1)
    hub.is_leaving = lambda: not worker.alive


def worker_exit(_server: Any, worker: Any) -> None:
    """Send the spans that wait and write the remaining entries of the audit log when a worker exits."""
    tracing.close()
    # a worker that failed to start has no app
    if worker.wsgi is not None:
        buffer_of(worker.wsgi).close()
