"""Run as a script: kills workers at random moments of a tool's life, and prints whose tools outlived them.

Usage: worker_killer.py INPUTS LEVEL=TIMES... The level `none` runs the tool as a plain child.
"""

import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

from tests.integration import attacks
from tests.integration.sandbox_kit import end, guarded, kinds_here, marked

LATEST_SECONDS = 0.4
SETTLED_SECONDS = 1.0


def work(level: str, mark: str, inputs: Path) -> None:
    """Be a worker whose tool puts a daemon into the world and goes on."""
    if level == "none":
        subprocess.run([sys.executable, "-I", "-c", attacks.DAEMON, mark, "20"], env={}, check=False)
    else:
        guarded(kinds_here()[level], attacks.DAEMON, mark, "20", inputs=inputs)


def main(inputs: Path, *rounds: str) -> None:
    """Kill the workers of each round; print, a line each, its level, when it was and how many are left of it."""
    random.seed(2026)
    killed = []
    for level, _, times in (word.partition("=") for word in rounds):
        for number in range(int(times)):
            mark = uuid.uuid4().hex
            after = LATEST_SECONDS * (number + random.random()) / int(times)
            worker = os.fork()
            if worker == 0:
                work(level, mark, inputs)
                os._exit(0)
            time.sleep(after)
            os.kill(worker, 9)
            os.waitpid(worker, 0)
            killed.append((level, after, mark))
    time.sleep(SETTLED_SECONDS)
    for level, after, mark in killed:
        left = marked(mark)
        end(left)
        print(f"{level} {after:.3f} {len(left)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
