"""fan8 on DBOS: a workflow that starts eight workflows of one step and joins them, all in this process.

python -m bench.support.performance.peers.dbos_fan8 POSTGRES_URL
"""

import sys
import time

from dbos import DBOS

from bench.support.performance import driver

DBOS(config={"name": "bench-fan8", "system_database_url": sys.argv[1], "run_admin_server": False})


@DBOS.step()
def step(number: int) -> int:
    """Do nothing."""
    return number


@DBOS.workflow()
def branch(number: int) -> int:
    """Run one step as a workflow of its own, so that it runs beside others."""
    return int(step(number))


@DBOS.workflow()
def fan8() -> int:
    """Start eight branches and add up their results."""
    started = [DBOS.start_workflow(branch, number) for number in range(8)]
    return sum(one.get_result(polling_interval_sec=0.01) for one in started)


def run(_plan: str) -> tuple[float, None]:
    """Run one workflow."""
    began = time.monotonic()
    fan8()
    return 1000 * (time.monotonic() - began), None


if __name__ == "__main__":
    DBOS.launch()
    driver.serve(run)
    DBOS.destroy()
