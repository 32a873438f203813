"""fan8 on Restate: a handler that calls eight others and joins them; the server and the service are other processes.

python -m bench.support.performance.peers.restate_fan8 RESTATE_SERVER DIRECTORY
"""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import hypercorn.asyncio
import hypercorn.config
import restate

from bench.support.performance import driver

steps = restate.Service("steps")
plans = restate.Service("plans")


@steps.handler()
async def step(ctx: restate.Context, number: int) -> int:
    """Do nothing, durably."""
    return int(await ctx.run_typed("step", lambda: number))


@plans.handler()
async def fan8(ctx: restate.Context, _: int) -> int:
    """Call eight steps and add up their results."""
    calls = [ctx.service_call(step, number) for number in range(8)]
    return sum([await call for call in calls])


def serve_handlers(port: int) -> None:
    """Serve the handlers until the process ends."""
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(hypercorn.asyncio.serve(restate.app([steps, plans]), config))


@contextmanager
def running(*argv: str, **environ: str) -> Iterator[int]:
    """Run a process until the block ends; one that does not end in time is killed."""
    with subprocess.Popen(argv, env={**os.environ, **environ}, stdout=sys.stderr) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()


def call(port: int, path: str, body: object) -> bytes:
    """Post JSON, again while nobody listens yet; return the answer."""
    give_up = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            content = reply.read()
            if reply.status < 300:
                return content
            error: Exception = RuntimeError(f"{path} answered {reply.status}: {content[:500]!r}")
        except OSError as failed:
            error = failed
        finally:
            connection.close()
        if time.monotonic() > give_up:
            raise error
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main(server: str, directory: str) -> None:
    """Start the server and the service, and serve runs."""
    ingress, admin, node, port = free_ports(4)
    environ = {
        "RESTATE_BASE_DIR": directory,
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }
    own = (sys.executable, "-m", "bench.support.performance.peers.restate_fan8", "--handlers", str(port))
    with running(*own) as service, running(server, **environ) as broker:
        call(admin, "/deployments", {"uri": f"http://127.0.0.1:{port}"})

        def run(_plan: str) -> tuple[float, None]:
            began = time.monotonic()
            call(ingress, "/plans/fan8", 0)
            return 1000 * (time.monotonic() - began), None

        driver.serve(run, service=service, restate=broker)


if __name__ == "__main__":
    if sys.argv[1] == "--handlers":
        serve_handlers(int(sys.argv[2]))
    else:
        main(sys.argv[1], sys.argv[2])
