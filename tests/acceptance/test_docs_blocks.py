"""Every block of code of the README and the pages is run here, is run by another test, or says why not.

The line above a fence may be a mark: `<!-- run by tests/FILE -->` or `<!-- not run: REASON -->`. All other blocks are
run by their language. `task_...`, `appr_...`, `key_...` and `octo_live_...` stand for ids, which are made here.
"""

import ast
import configparser
import importlib
import itertools
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator import settings
from orchestrator.devserver.stack import Stack
from orchestrator.models.endpoint import read_endpoints
from orchestrator.planner.recipe_reader import recipe_of
from orchestrator.registry.manifest import read_manifest, read_types
from orchestrator.registry.sources import REGISTRY, Source
from orchestrator.rules.plain_yaml import decode_yaml
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.pasted import ROOT, Block, blocks_in, faults_of, paste
from tests.acceptance.plans import wait
from tests.waiting import wait_until

PATTERNS = ("*.md", "docs/**/*.md", "clients/*/README.md", "deploy/**/*.md")
TENANT = "local"  # whose token `octollm` signs
API = "docs/reference/api.md"  # its first block defines $API and $auth
SLOW = {f"docs/how-to/{name}.md" for name in ("decide-approvals", "manage-keys", "monitor", "schedule-tasks")}
QUESTION = {"id": "ask", "arm": "human", "action": "answer", "inputs": {"question": "Which colour?"}}

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in PATTERNS
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
BLOCKS = [block for page in PAGES for block in blocks_in(page, (ROOT / page).read_text("utf-8"))]
OURS = [block for block in BLOCKS if block.is_ours]
SHELLS = {
    page: list(blocks)
    for page, blocks in itertools.groupby(
        (block for block in OURS if block.language == "sh"), lambda block: block.page
    )
}


def test_every_block_is_run_or_says_why_not() -> None:
    assert len(PAGES) > 60
    assert len(OURS) > 40
    assert [f"{block} {fault}" for block in BLOCKS for fault in faults_of(block)] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("text\n\n    octollm up\n", "is indented"),
        ("<!-- not run: -->\n```sh\noctollm up\n```\n", "without a reason"),
        ("<!-- run by tests/none.py -->\n```sh\noctollm up\n```\n", "no test that names"),
        ("<!-- run by tests/conftest.py -->\n```sh\noctollm up\n```\n", "no test that names"),
        ("<!-- skip it -->\n```sh\noctollm up\n```\n", "no mark"),
        ("```text\noctollm up\n```\n", "which nothing runs"),
        ("- a list\n\n  ```\n  octollm up\n  ```\n", "(none)"),
    ],
)
def test_a_block_that_nothing_runs_is_found(text: str, fault: str) -> None:
    [block] = blocks_in("docs/none.md", text)

    assert fault in "; ".join(faults_of(block))


@pytest.fixture(scope="module")
def made(stack: Stack) -> Iterator[dict[str, Iterator[str]]]:
    """The ids that stand for each placeholder: one for each place of an approval, else always the same."""
    client = client_of(stack, tenant=TENANT)
    file = client.upload((ROOT / "examples" / "manual.md").read_bytes(), filename="manual.md")
    find = {"id": "find", "arm": "retriever", "action": "search", "inputs": {"query": "refund"}}
    ended = client.run("Find it", plan={"steps": [find]}, attachments=[file])["task_id"]
    asking = [{**wait(f"s{number}"), "approval": {"ask": "May it?"}} for number in range(6)]
    asked = client.submit("Ask", plan={"steps": [*asking, QUESTION]})
    found = wait_until(lambda: _asked(client, asked, len(asking) + 1), 60, "the questions")
    key = client.call("POST", "/v1/keys", {"scopes": ["all"]}).body
    yield {
        "octollm answer appr_...": itertools.repeat(f"octollm answer {found['question'][0]}"),
        "appr_...": iter(found["approval"]),
        "task_...": itertools.repeat(ended),
        "key_...": itertools.repeat(key["key_id"]),
        "octo_live_...": itertools.repeat(key["key"]),
    }
    assert client.call("DELETE", f"/v1/tasks/{asked}").status == 200


def _asked(client: Client, task_id: str, count: int) -> dict[str, list[str]]:
    listed = client.questions(task_id)
    kinds: dict[str, list[str]] = {}
    for approval in listed:
        kinds.setdefault(approval["kind"], []).append(approval["approval_id"])
    return kinds if len(listed) == count else {}


def _with_ids(text: str, made: dict[str, Iterator[str]]) -> str:
    for placeholder, ids in made.items():
        for _ in range(text.count(placeholder)):
            text = text.replace(placeholder, next(ids), 1)
    assert not re.search(r"_\.\.\.", text), f"something has no id here: {text}"
    return text


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow if page in SLOW else ()) for page in SHELLS]
)
def test_the_commands_of_a_page_work(
    page: str, stack: Stack, made: dict[str, Iterator[str]], tmp_path: Path
) -> None:
    script = "".join(_with_ids(block.text, made) for block in SHELLS[page])
    if page != API and re.search(r"\$(API|auth)\b", script):
        script = SHELLS[API][0].text + script
    for name in ("manual.md", "notes.txt"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")

    done = paste(script, url=stack.url, home=stack.home, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"code":' not in done.stdout, "an answer is an error"


def _of(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [one for one in OURS if one.language in languages], ids=str)


@_of("json")
def test_a_block_of_json_is_right(block: Block, stack: Stack) -> None:
    document = json.loads(block.text)
    if "steps" in document:
        client = client_of(stack, tenant=TENANT)
        files = sorted(set(re.findall(r'"attachment": "([^"]+)"', block.text)))
        attached = [
            client.upload(ROOT.joinpath("README.md").read_bytes(), filename=name)
            for name in files or ["a.txt"]
        ]
        contract = {"goal": "do it", "plan": document, "attachments": attached}
        answer = client.call("POST", "/v1/plans/check", contract)
        assert (answer.status, answer.body["faults"]) == (200, [])


@_of("toml", "ini", "yaml")
def test_a_block_of_settings_is_read(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "arm.toml"
    file.write_text(block.text)
    if block.language == "yaml":
        document = decode_yaml(block.text)
        if "recipe" in document:
            assert recipe_of(document, str(block)).recipe == document["recipe"]
    elif block.language == "ini" and not block.text.startswith("["):
        given = dict(line.split("=", 1) for line in block.text.splitlines())
        settings.load({"DATABASE_URL": "postgresql://host/name", "REDIS_URL": "redis://host", **given})
    elif block.language == "ini":
        assert configparser.ConfigParser().read(file)
    elif "arm_id" in (document := tomllib.loads(block.text)):
        (tmp_path / f"{document['worker']['module']}.py").touch()
        assert read_manifest(Source(file, "ARMS_PATH"), read_types(REGISTRY))["arm_id"] == document["arm_id"]
    elif all("url" in table for table in document.values()):
        assert set(read_endpoints(str(file))) == set(document)


@_of("python")
def test_a_block_of_python_is_whole(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []


@_of("sql")
def test_a_statement_fits_the_tables(block: Block, database: Engine) -> None:
    with database.connect() as conn:
        for statement in block.text.split(";"):
            text = re.sub(r"--.*", "", statement).strip()
            if text:
                assert conn.exec_driver_sql(f"EXPLAIN {text}").all()
