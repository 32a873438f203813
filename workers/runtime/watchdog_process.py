"""Run as a script: kills processes that gave no sign of life for as many seconds as its argument says.

Its standard input is a socket of packets: 8 bytes with the number of a process, the first one of each with a
descriptor of that process. It ends when no process holds the other end. It imports nothing of ours: it must move when
nothing else does, and takes 6 MiB of its own.

Silence counts only while this process runs and the other one is not stopped (SIGSTOP, a debugger): where both stood
still, as in a suspended machine, nothing is known.
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
"""A tick that is so late says that this process stood still, too."""


class Watched:
    """One process: its descriptor, and when it was last heard of."""

    def __init__(self, descriptor: int, now: float) -> None:
        self.descriptor = descriptor
        self.heard_at = now


def watch(line: socket.socket, silence_seconds: float) -> None:
    """Watch until the line ends."""
    tick = min(_LONGEST_TICK_SECONDS, silence_seconds / _TICKS_IN_SILENCE)
    watched: dict[int, Watched] = {}
    looked_at = time.monotonic()
    line.setblocking(False)
    poll = select.poll()
    poll.register(line, select.POLLIN)
    while True:
        poll.poll(tick * 1000)
        now = time.monotonic()
        if now - looked_at > tick + _LATE_SECONDS:
            for process in watched.values():
                process.heard_at = now
        looked_at = now
        if not hear(line, watched, now):
            return
        for pid in list(watched):
            tend(pid, watched, now, silence_seconds)


def hear(line: socket.socket, watched: dict[int, Watched], now: float) -> bool:
    """Note all signs of life that have come; tell whether more can come."""
    while True:
        try:
            packet, descriptors, _, _ = socket.recv_fds(line, _BEAT.size, 1)
        except BlockingIOError:
            return True
        if not packet:
            return False
        pid = _BEAT.unpack(packet)[0]
        if descriptors:
            forget(pid, watched)
            watched[pid] = Watched(descriptors[0], now)
        elif pid in watched:
            watched[pid].heard_at = now


def tend(pid: int, watched: dict[int, Watched], now: float, silence_seconds: float) -> None:
    """Forget a process that has ended; kill one that is silent for too long."""
    process = watched[pid]
    ended = select.poll()
    ended.register(process.descriptor, select.POLLIN)
    if ended.poll(0):
        forget(pid, watched)
    elif now - process.heard_at > silence_seconds / 2 and is_stopped(pid):
        process.heard_at = now
    elif now - process.heard_at > silence_seconds:
        tell(pid, now - process.heard_at, silence_seconds)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.descriptor, signal.SIGKILL)
        forget(pid, watched)


def forget(pid: int, watched: dict[int, Watched]) -> None:
    """Watch a process no longer."""
    process = watched.pop(pid, None)
    if process is not None:
        os.close(process.descriptor)


def is_stopped(pid: int) -> bool:
    """Tell whether somebody stopped the process: it is silent because it was told to be."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def tell(pid: int, seconds: float, silence_seconds: float) -> None:
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
