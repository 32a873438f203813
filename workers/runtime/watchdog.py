"""Has a hung process killed from outside: a thread that never releases the interpreter lock stops all others.

Each worker has one watcher process (watchdog_process). The worker's main process and each child of its pool send it
heartbeats; it kills a process whose heartbeats stop. The supervisor restarts the worker, and the leases of the killed
process expire, so that its work runs again.
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
"""A heartbeat: the sender's process id, 8 bytes."""
BEATS_IN_SILENCE = 10
_LONGEST_PAUSE_SECONDS = 1.0
_PROGRAM = Path(__file__).with_name("watchdog_process.py")

log = structlog.get_logger(__name__)


class Watchdog:
    """A worker's socket to its watcher; a forked child inherits it and registers itself by `beat`.

    A process may go `silence_seconds` without a heartbeat; 0 turns the watchdog off.
    """

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._socket: socket.socket | None = None
        self._loop: Loop | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the watcher; call it in a worker's main process before its pool forks."""
        if not self._silence_seconds:
            return
        self._socket, watcher_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # a stopped watcher must not block the processes that it watches
        self._socket.setblocking(False)
        with watcher_end:
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), str(self._silence_seconds)],
                stdin=watcher_end.fileno(),
                stdout=subprocess.DEVNULL,
                env={},
                start_new_session=True,
            )

    def beat(self) -> None:
        """Register this process, and send heartbeats from a thread of its own until the process ends."""
        if self._socket is None:
            return
        descriptor = os.pidfd_open(os.getpid())
        try:
            socket.send_fds(self._socket, [BEAT.pack(os.getpid())], [descriptor])
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
            if self._socket is not None:
                self._socket.send(BEAT.pack(os.getpid()))
        except BlockingIOError:
            # the watcher has unread heartbeats: one more adds nothing
            return
