"""Measures how large and how entangled the code is: files, lines, parameters, and the calls of one POST and one step.

Prints, for each top folder, the number of files and lines of Python; then files under 50 lines and functions with more
than six parameters; then, for one POST /v1/tasks and for one step, the calls of functions of orchestrator, api and
workers, the files these are in, and the moves: calls from a function of ours into one in another file. POST goes
through Flask's test client; the step runs through Celery's tracer in this process, on private servers.
"""

import ast
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from celery.app.trace import build_tracer

from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import open_engine
from orchestrator.devserver import servers
from orchestrator.memory import migrate
from orchestrator.models.execution_state import StepKind
from orchestrator.queue.app import TASK_NAMES

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("orchestrator", "api", "workers")
FOLDERS: Final = (*PACKAGES, "migrations", "bench", "tests")
SMALL_LINES: Final = 50
MAX_PARAMETERS: Final = 6
WARM_UPS: Final = 3
PLAN: Final = {"steps": [{"id": "pause", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}]}


@dataclass
class Profile:
    """The calls of our functions in one thread."""

    calls: int = 0
    moves: int = 0
    files: set[str] = field(default_factory=set)

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Count a call, as a function for sys.setprofile; comprehensions and generator expressions are not counted."""
        file = _file_of_ours(frame)
        if event != "call" or not file:
            return
        caller = frame.f_back
        while caller is not None and not _file_of_ours(caller):
            caller = caller.f_back
        self.calls += 1
        self.files.add(file)
        self.moves += caller is None or _file_of_ours(caller) != file

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Profile this thread inside the block."""
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)

    def line(self, name: str) -> str:
        """Return the figures as a line of the report."""
        return f"{name}: {self.calls} calls in {len(self.files)} files, {self.moves} moves between files"


def main() -> None:
    """Print the figures."""
    print_sizes()
    with tempfile.TemporaryDirectory(prefix="octollm-house-") as home:
        os.environ |= {"OCTOLLM_HOME": home, "OCTOLLM_ENV_FILE": "none", "PROMETHEUS_MULTIPROC_DIR": "none"}
        os.environ |= {"JWT_SECRET": "x" * 32, "LOG_LEVEL": "error"}
        with servers.start(Path(home), durable=False, environ={}) as running:
            os.environ |= {"DATABASE_URL": running.database_url, "REDIS_URL": running.redis_url}
            migrate.upgrade(running.database_url)
            post, step = measure_one_task(running.database_url)
            print(post.line("POST /v1/tasks"))
            print(step.line("step"))


def print_sizes() -> None:
    """Print the static figures of each folder."""
    print(f"{'folder':<34} files  lines")
    many: list[str] = []
    small = 0
    for folder in FOLDERS:
        sources = {path: path.read_text() for path in sorted((ROOT / folder).rglob("*.py"))}
        for part, paths in _by_part(folder, list(sources)).items():
            print(f"{part:<34} {len(paths):>5} {sum(_count(sources[path]) for path in paths):>6}")
        if folder in PACKAGES:
            small += sum(0 < _count(text) < SMALL_LINES for text in sources.values())
        for path, text in sources.items():
            many += [f"{path.relative_to(ROOT)}:{name}" for name in functions_with_many_parameters(text)]
    print(f"files of {', '.join(PACKAGES)} under {SMALL_LINES} lines: {small}")
    print(f"functions with more than {MAX_PARAMETERS} parameters: {len(many)} {' '.join(many)}".rstrip())


def functions_with_many_parameters(source: str) -> Iterator[str]:
    """Yield the names of functions with more than six parameters, `self` and `cls` not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if sum(item.arg not in ("self", "cls") for item in given) > MAX_PARAMETERS:
                yield node.name


def measure_one_task(database_url: str) -> tuple[Profile, Profile]:
    """Return the profiles of a POST and of its task's one step, after a few that warm up caches."""
    # bench/api.py would hide the package; and these read the environment at import
    sys.path[:] = [str(ROOT), *(path for path in sys.path if path != str(ROOT / "bench"))]
    from api.app import create_app  # noqa: PLC0415
    from orchestrator import settings  # noqa: PLC0415
    from workers.runtime import process  # noqa: PLC0415
    from workers.tasks import app  # noqa: PLC0415

    loaded = settings.load()
    client = create_app(loaded).test_client()
    token = sign_token(loaded, tenant="house", key_id="house", scopes=SCOPES)
    process.start(app, service="house")
    engine = open_engine(database_url)

    def post(goal: str) -> str:
        body = {"goal": goal, "plan": PLAN}
        answer = client.post("/v1/tasks", json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 202, answer.text
        return str(answer.json["task_id"])

    def runner(task_id: str, name: str) -> Callable[[], Any]:
        with engine.begin() as conn:
            query = "SELECT id, kind, chord_id FROM steps WHERE task_id = %(task)s AND name = %(name)s"
            row = conn.exec_driver_sql(query, {"task": task_id, "name": name}).mappings().one()
        task = app.tasks[TASK_NAMES[StepKind(row["kind"])]]
        request = {"id": row["id"], "task": task.name, "group": row["chord_id"], "delivery_info": {}}
        tracer: Callable[..., Any] = build_tracer(task.name, task, app=app)
        return lambda: tracer(row["id"], (task_id, name), {}, request)

    for number in range(WARM_UPS):
        task_id = post(f"warm up {number}")
        runner(task_id, "$plan")()
        runner(task_id, "pause")()
    posted, stepped = Profile(), Profile()
    with posted.measuring():
        task_id = post("be measured")
    runner(task_id, "$plan")()
    run_step = runner(task_id, "pause")
    with stepped.measuring():
        run_step()
    with engine.begin() as conn:
        query = "SELECT state FROM steps WHERE task_id = %(task)s AND name = 'pause'"
        assert conn.exec_driver_sql(query, {"task": task_id}).scalar_one() == "done"
    engine.dispose()
    return posted, stepped


def _by_part(folder: str, paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Group files by the folder below `folder`; the files directly in it stand under its own name."""
    parts: dict[str, list[Path]] = {}
    for path in paths:
        inner = path.relative_to(ROOT / folder).parts
        parts.setdefault(f"{folder}/{inner[0]}" if len(inner) > 1 else folder, []).append(path)
    return parts


def _count(text: str) -> int:
    return text.count("\n")


def _file_of_ours(frame: FrameType) -> str:
    """Return the file of a function of ours, relative to the checkout; empty for any other frame."""
    name = frame.f_code.co_filename
    if frame.f_code.co_name.startswith("<") or not name.startswith(f"{ROOT}/"):
        return ""
    file = name.removeprefix(f"{ROOT}/")
    return file if file.partition("/")[0] in PACKAGES else ""


if __name__ == "__main__":
    main()
    # threads of the worker and the API that have no stop here
    sys.stdout.flush()
    os._exit(0 if threading.current_thread() is threading.main_thread() else 1)
