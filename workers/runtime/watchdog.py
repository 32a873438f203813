"""Has a process killed from outside when nothing of it moves any more: a thread that holds the interpreter stops all.

One watcher a worker (watchdog_process) hears from its main process and from each child of its pool, and kills what is
silent for too long. Whoever started the worker starts it again, and the leases of the dead bring its work back.
"""

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import structlog

from orchestrator.observability import metric
from orchestrator.process.loop import Loop, Pace

BEAT = struct.Struct("!q")
"""A sign of life: the number of the process that it is of."""
BEATS_IN_SILENCE = 10
_LONGEST_PAUSE_SECONDS = 1.0
_PROGRAM = Path(__file__).with_name("watchdog_process.py")

log = structlog.get_logger(__name__)


class Watchdog:
    """A worker's line to its watcher; a forked child inherits it and registers itself by `beat`.

    `silence_seconds`: how long a process may be silent; 0 means that none is watched.
    """

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._line: socket.socket | None = None
        self._loop: Loop | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the watcher, in a worker's main process, before there are children."""
        if not self._silence_seconds:
            return
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # a watcher that has stopped must not stop those it watches
        self._line.setblocking(False)
        with theirs:
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), str(self._silence_seconds)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={},
                start_new_session=True,
            )

    def beat(self) -> None:
        """Register this process and give signs of life from a thread of its own until it ends."""
        if self._line is None:
            return
        descriptor = os.pidfd_open(os.getpid())
        try:
            socket.send_fds(self._line, [BEAT.pack(os.getpid())], [descriptor])
        except OSError as error:
            log.error("watchdog.away", error=type(error).__name__)
            return
        finally:
            os.close(descriptor)
        pause = min(_LONGEST_PAUSE_SECONDS, self._silence_seconds / BEATS_IN_SILENCE)
        self._loop = Loop(
            "watchdog", self._send, pace=Pace(pause), away=(OSError,), failed=metric.thread_failed
        )
        self._loop.start()

    def _send(self) -> None:
        try:
            if self._line is not None:
                self._line.send(BEAT.pack(os.getpid()))
        except BlockingIOError:
            # it has more signs than it can read: one is as good as many
            return
