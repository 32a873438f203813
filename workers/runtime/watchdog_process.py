"""The watcher, run as a script: kills processes that sent no heartbeat for the seconds of its argument.

Its standard input is a socket of packets. A packet is 8 bytes with a process id; the first packet of a process carries
its pidfd as well. The watcher ends when no process holds the other end. It imports nothing of the project, so that it
works whatever state the worker is in, and takes 6 MiB.

Silence does not count while the watcher itself did not run, as on a suspended machine, nor while the watched process
is stopped (SIGSTOP, a debugger).
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

_BEAT = struct.Struct("!q")
_LONGEST_TICK_SECONDS = 1.0
_TICKS_IN_SILENCE = 10
_LATE_SECONDS = 1.0
"""A tick that is late by more means that the watcher itself did not run."""


class Watched:
    """One process: its pidfd, and the time of its last heartbeat."""

    def __init__(self, descriptor: int, now: float) -> None:
        self.descriptor = descriptor
        self.last_beat_at = now


def watch(connection: socket.socket, silence_seconds: float) -> None:
    """Watch until every other end of the socket is closed."""
    tick = min(_LONGEST_TICK_SECONDS, silence_seconds / _TICKS_IN_SILENCE)
    watched: dict[int, Watched] = {}
    looked_at = time.monotonic()
    connection.setblocking(False)
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while True:
        poll.poll(tick * 1000)
        now = time.monotonic()
        if now - looked_at > tick + _LATE_SECONDS:
            for process in watched.values():
                process.last_beat_at = now
        looked_at = now
        if not receive(connection, watched, now):
            return
        for pid in list(watched):
            check(pid, watched, now, silence_seconds)


def receive(connection: socket.socket, watched: dict[int, Watched], now: float) -> bool:
    """Record all heartbeats that have arrived; return False when every other end of the socket is closed."""
    while True:
        try:
            packet, descriptors, _, _ = socket.recv_fds(connection, _BEAT.size, 1)
        except BlockingIOError:
            return True
        if not packet:
            return False
        pid = _BEAT.unpack(packet)[0]
        if descriptors:
            forget(pid, watched)
            watched[pid] = Watched(descriptors[0], now)
        elif pid in watched:
            watched[pid].last_beat_at = now


def check(pid: int, watched: dict[int, Watched], now: float, silence_seconds: float) -> None:
    """Forget a process that has ended; kill one that is silent for too long."""
    process = watched[pid]
    ended = select.poll()
    ended.register(process.descriptor, select.POLLIN)
    if ended.poll(0):
        forget(pid, watched)
    elif now - process.last_beat_at > silence_seconds / 2 and is_stopped(pid):
        process.last_beat_at = now
    elif now - process.last_beat_at > silence_seconds:
        log_kill(pid, now - process.last_beat_at, silence_seconds)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.descriptor, signal.SIGKILL)
        forget(pid, watched)


def forget(pid: int, watched: dict[int, Watched]) -> None:
    """Stop watching a process."""
    process = watched.pop(pid, None)
    if process is not None:
        os.close(process.descriptor)


def is_stopped(pid: int) -> bool:
    """Return whether the process was stopped by a signal or a debugger."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def log_kill(pid: int, seconds: float, silence_seconds: float) -> None:
    """Write a line to the worker's log."""
    line = {
        "event": "watchdog.killed",
        "level": "error",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "pid": pid,
        "silent_seconds": round(seconds, 1),
        "watchdog_seconds": silence_seconds,
    }
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(socket.socket(fileno=sys.stdin.fileno()), float(sys.argv[1]))
