"""The author's commands: `octollm arm new` writes what runs, `check` finds what is wrong, `try` runs one action."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.exit_status import ExitStatus
from orchestrator.cli.main import main
from tests.fake_llm.server import FakeLLM

_numbers = itertools.count()
ACT = """
from orchestrator.sdk import Context, Failed, Retry, action

@action(effects="read", attachments="any", timeout_seconds=0.3)
def act(what: str = "", *, context: Context) -> dict[str, str]:
    \"\"\"Acts.\"\"\"
    if what == "fail":
        raise Failed("no_city", "there is no such city")
    if what == "retry":
        raise Retry("busy", after=3)
    if what == "break":
        raise ValueError("it broke")
    while what == "spin":
        context.checkpoint()
    if what == "odd":
        return {"a": 1}
    if what == "ask":
        return {"said": context.ask("How?", material={"page": "text"})}
    return {file.name: context.open(file.id).decode() for file in context.attachments} | {
        "id": context.save_file("out/r.txt", "saved")
    }
"""


@pytest.fixture(autouse=True)
def own_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Work in a directory of the test; take back what it adds to sys.path."""
    before = list(sys.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTOLLM_ENV_FILE", "none")
    yield
    sys.path[:] = before


@pytest.fixture
def arm() -> str:
    """The name of an arm that no other test has: modules stay imported."""
    return f"fresh{next(_numbers)}"


def run(*arguments: str) -> int:
    """Run `octollm arm ...` and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(["arm", *arguments])
    return int(ended.value.code or 0)


def place(arm: str, text: str = ACT, manifest: str = "") -> Path:
    """Write an arm with one module below arms/; return its directory."""
    directory = Path("arms") / arm
    directory.mkdir(parents=True)
    (directory / "arm.toml").write_text(
        f'arm_id = "{arm}"\ndescription = "Acts for a test"\n{manifest}\n[worker]\nmodule = "{arm}"\n'
    )
    (directory / f"{arm}.py").write_text(text)
    return directory


def test_a_new_arm_runs_as_it_is(arm: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = run("new", arm)
    checked = run("check", "arms")
    capsys.readouterr()
    tried = run("try", f"{arm}.count_words", '{"text": "a b a"}')
    shown = capsys.readouterr()
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"arms/{arm}"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (made, checked, tried) == (0, 0, 0)
    assert json.loads(shown.out) == {"words": 3, "most_used": ["a", "b"]}
    assert shown.err == "  100 %  line 1 of 1\n"
    assert tests.returncode == 0, tests.stdout
    assert sorted(path.name for path in Path("arms", arm).iterdir() if path.is_file()) == [
        "README.md",
        "arm.toml",
        f"{arm}.py",
        f"test_{arm}.py",
    ]


def test_the_example_s_arm_is_right_and_passes_its_own_tests() -> None:
    example = Path(_root(), "examples", "arms", "weather")

    checked = run("check", str(example))
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(example)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked == ExitStatus.OK
    assert tests.returncode == 0, tests.stdout


@pytest.mark.parametrize("name", ["json", "pytest", "Weather", "ab"])
def test_a_name_that_no_arm_can_have_is_refused(name: str) -> None:
    assert run("new", name) == ExitStatus.USAGE
    assert not Path("arms").exists()


def test_an_arm_is_never_overwritten(arm: str) -> None:
    assert run("new", arm) == ExitStatus.OK
    assert run("new", arm) == ExitStatus.USAGE


def test_check_names_file_and_line_of_each_fault(arm: str, capsys: pytest.CaptureFixture[str]) -> None:
    place(
        f"{arm}a",
        "from orchestrator.sdk import action\n\n@action(effects='none')\ndef act(city) -> str:\n    'Acts'\n",
    )
    place(f"{arm}b", manifest="colour = 3")

    status = run("check", "arms")

    shown = capsys.readouterr().err.splitlines()
    assert status == ExitStatus.FAILED
    assert f"{arm}a.py:4: action act: the parameter city has no type" in shown[0]
    assert f"{arm}b/arm.toml:3: colour is an unknown key" in shown[1]


def test_a_directory_without_arms_is_not_right(tmp_path: Path) -> None:
    assert run("check", str(tmp_path)) == ExitStatus.FAILED


def test_frozen_actions_are_those_of_the_module_until_it_changes(
    arm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = place(arm)

    frozen, fresh = run("freeze", str(directory)), run("check", "arms")
    file = directory / "actions.json"
    stated = json.loads(file.read_text())
    stated["act"]["timeout_seconds"] = 2.0
    file.write_text(json.dumps(stated))
    changed = run("check", str(directory / "arm.toml"))
    again, repaired = run("freeze", "arms"), run("check", "arms")

    assert (frozen, fresh, changed, again, repaired) == (0, 0, 1, 0, 0)
    assert stated["act"]["effects"] == "read"
    assert "actions.json:1: states act otherwise than the functions" in capsys.readouterr().err


def test_frozen_actions_need_no_import_of_the_module(arm: str) -> None:
    directory = place(arm)
    assert run("freeze", str(directory)) == ExitStatus.OK

    code = (
        "import sys; from orchestrator.models.arm_capability import ARMS;"
        f"print(sorted(ARMS['{arm}'].actions), '{arm}' in sys.modules, 'pydantic' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={"ARMS_PATH": str(Path("arms").absolute()), "OCTOLLM_ENV_FILE": "none", "PYTHONPATH": _root()},
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout == "['act'] False False\n"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("fail", "no_city: there is no such city"),
        ("retry", "retry_later: busy (again after 3 s)"),
        ("break", "action_failed: ValueError: it broke"),
        ("spin", "action_failed: TimeoutError: it ran longer than its limit of 0.3 s"),
        ("odd", "invalid_output: act returned something else than its type says"),
        ("ask", "no_model: No model is configured"),
    ],
)
def test_a_failed_trial_says_what_the_step_s_error_would_be(
    arm: str,
    what: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(arm)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    status = run("try", f"{arm}.act", json.dumps({"what": what}))

    shown = capsys.readouterr()
    assert status == ExitStatus.FAILED
    assert f"{arm}.act: {message}" in shown.err
    assert ("Traceback" in shown.err) is (what == "break")
    assert shown.out == ""


def test_a_trial_reads_and_saves_files(arm: str, capsys: pytest.CaptureFixture[str]) -> None:
    place(arm)
    Path("in.txt").write_text("content")

    status = run("try", f"{arm}.act", "--file", "in.txt", "--save", "results")

    shown = capsys.readouterr()
    assert status == ExitStatus.OK
    assert json.loads(shown.out)["in.txt"] == "content"
    assert "out/r.txt: 5 bytes" in shown.err
    assert Path("results/r.txt").read_text() == "saved"


def test_a_trial_asks_the_models_of_the_settings(
    arm: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place(arm, ACT.replace("timeout_seconds=0.3", "timeout_seconds=60"))
    with FakeLLM() as fake:
        fake.answer("So.")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("LLM_CHAIN", "openai:fake-model")

        status = run("try", f"{arm}.act", '{"what": "ask"}')

    assert status == ExitStatus.OK
    assert json.loads(capsys.readouterr().out) == {"said": "So."}


@pytest.mark.parametrize("arguments", [["act", "[]"], ["act", "{"], ["nothing"], ["act", "{}", "--dir", "."]])
def test_a_trial_of_something_else_is_wrong_usage(arm: str, arguments: list[str]) -> None:
    place(arm)
    action, *rest = arguments

    assert run("try", f"{arm}.{action}", *rest) == ExitStatus.USAGE


def test_inputs_of_a_trial_meet_the_contract(arm: str, capsys: pytest.CaptureFixture[str]) -> None:
    place(arm)

    assert run("try", f"{arm}.act", '{"town": 1}') == ExitStatus.FAILED
    assert "invalid_input: it has unknown members: 'town'" in capsys.readouterr().err


def _root() -> str:
    return str(Path(__file__).parents[2])
