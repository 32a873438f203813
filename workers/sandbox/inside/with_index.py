"""A script inside the sandbox: runs commands that reach the package index at a port of loopback.

Usage: with_index.py SOCKET PORT COMMANDS. With a SOCKET it carries connections to the PORT over to it; without one
somebody listens there already. COMMANDS is a JSON list of argument lists, run one after the other; the last gets the
script's standard input. Ends with the exit code of the first that fails, 0 if none does.
"""

import json
import socket
import subprocess
import sys
import threading

_CHUNK_BYTES = 65_536


def carry(connection: socket.socket, place: str) -> None:
    """Copy both directions between a connection and a new one to the Unix socket at `place`."""
    with connection, socket.socket(socket.AF_UNIX) as other:
        try:
            other.connect(place)
            back = threading.Thread(target=copy, args=(other, connection), daemon=True)
            back.start()
            copy(connection, other)
            back.join()
        except OSError:
            return


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the end of the source, and end the target then."""
    try:
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def listen(listener: socket.socket, place: str) -> None:
    """Carry each connection in a thread of its own."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=carry, args=(connection, place), daemon=True).start()


def main() -> int:
    """Run the commands; return the exit code."""
    place, port, commands = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    if place:
        listener = socket.create_server(("127.0.0.1", port), backlog=64)
        threading.Thread(target=listen, args=(listener, place), daemon=True).start()
    for number, command in enumerate(commands, start=1):
        stdin = None if number == len(commands) else subprocess.DEVNULL
        code = subprocess.run(command, check=False, stdin=stdin).returncode
        if code:
            return code if code > 0 else 128 - code
    return 0


if __name__ == "__main__":
    sys.exit(main())
