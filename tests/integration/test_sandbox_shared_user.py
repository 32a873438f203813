"""When the worker is not root, its tools have its user, and can't reach that user's other processes and files."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sandbox_kit import as_nobody, kinds_here

ROOT = Path(__file__).parents[2]
_TRY = """
import os, subprocess, sys, tempfile
from pathlib import Path
from tests.integration import attacks
from tests.integration.sandbox_kit import SMALL, guarded, kinds_here
from workers.sandbox import probe
place = Path(tempfile.mkdtemp())
inputs = place / "work"
inputs.mkdir()
(place / "secret").write_text("secret")
victim = subprocess.Popen(["sleep", "60"])
tries = [
    (attacks.READ_FILE, str(place / "secret")),
    (attacks.READ_FILE, f"/proc/{os.getpid()}/environ"),
    (attacks.WRITE_FILE, str(place / "new")),
    (attacks.WATCH, str(place)),
    (attacks.WATCH, tempfile.gettempdir()),
    (attacks.LIST, str(place)),
    (attacks.SIGNAL, str(victim.pid)),
    (attacks.SIGNAL_BY_FILE, str(victim.pid)),
    (attacks.TRACE, str(victim.pid)),
    (attacks.SHARE_MEMORY, "340"),
    (attacks.KEEP_DELETED, "SCRATCH", "16", "open"),
]
# 6: the size of the secret. Landlock does not cover stat, and the path is known
print(os.geteuid() != 0, *(guarded(kind, attacks.STAT, str(place / "secret"), inputs=inputs).stdout
    for kind in kinds_here().values()))
for kind in kinds_here().values():
    print(probe.failure(kind))
    for attack, *arguments in tries:
        try:
            said = guarded(kind, attack, *arguments, inputs=inputs).stdout
        except Exception as error:
            said = type(error).__name__.encode()
        if b"broke out" in said:
            print(kind.isolation, arguments, said)
    print(victim.poll())
victim.kill()
"""


@pytest.fixture
def own() -> Iterator[Path]:
    """A directory outside those that pytest closes to other users."""
    with tempfile.TemporaryDirectory(prefix="octollm-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name, "own")


def test_a_tool_with_the_worker_s_user_can_not_reach_that_user_s_files_and_processes(own: Path) -> None:
    drop, environment = as_nobody(own)

    tried = subprocess.run(
        [*drop, sys.executable, "-c", _TRY],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )

    seen = " ".join({"strong": "b''", "basic": r"b'6\n'"}[level] for level in kinds_here())
    assert tried.stdout.splitlines() == [f"True {seen}", *(["None"] * 2 * len(kinds_here()))], tried.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_attacks_fail_for_a_worker_that_is_not_root(own: Path) -> None:
    drop, environment = as_nobody(own)
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", f"--basetemp={own / 'pytest'}"]
    suite = [f"tests/integration/test_sandbox_{name}.py" for name in ("containment", "readable")]

    ran = subprocess.run(
        [*drop, sys.executable, "-m", "pytest", *options, *suite],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert ran.returncode == 0, ran.stdout


_GIVE = """
import tempfile
from pathlib import Path
from tests.integration.sandbox_kit import kinds_here
from tests.integration.test_sandbox_server import ask, serving
from workers.sandbox.backend import Access
place = Path(tempfile.mkdtemp())
given = place / "given"
given.mkdir()
for kind in kinds_here():
    with serving(kind, Access(writable=(given,))) as server:
        ask(server, f"Path('{given}/{kind}').write_text('x')")
        ask(server, f"Path('{place}/beside').write_text('x')")
    print(kind, (given / kind).exists(), (place / "beside").exists())
"""


def test_a_server_with_the_worker_s_user_writes_what_it_is_given_and_nothing_beside_it(own: Path) -> None:
    drop, environment = as_nobody(own)

    tried = subprocess.run(
        [*drop, sys.executable, "-c", _GIVE],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert tried.stdout.splitlines() == [f"{kind} True False" for kind in kinds_here()], tried.stderr
