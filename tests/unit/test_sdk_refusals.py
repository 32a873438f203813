"""What can't be an action: each fault is named with its line, and with what to write."""

from pathlib import Path

import pytest

from orchestrator.sdk.contracts import actions_of
from orchestrator.sdk.errors import ContractFault
from tests.contract_kit import messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '@action(effects="none")\ndef act(*names: str) -> str:\n    """Acts."""\n',
            "line 2: action act: *names can't be an input: write each parameter with its name and type",
        ),
        (
            '@action(effects="none")\ndef act(**names: str) -> str:\n    """Acts."""\n',
            "line 2: action act: *names can't be an input: write each parameter with its name and type",
        ),
        (
            '@action(effects="none")\ndef act(city, /) -> str:\n    """Acts."""\n',
            "line 2: action act: the parameter city is before a '/': inputs are given by name, leave the '/' out",
        ),
        (
            '@action(effects="none")\ndef act(city) -> str:\n    """Acts."""\n',
            "line 2: action act: the parameter city has no type: write city: str, or whatever it is",
        ),
        (
            '@action(effects="none")\ndef act():\n    """Acts."""\n',
            "line 2: action act: it has no return type: write -> str, or whatever it returns, after the parentheses",
        ),
        (
            '@action(effects="none")\ndef act() -> str:\n    return ""\n',
            'line 2: action act: it needs a description: write a docstring, """What it does, in a sentence."""',
        ),
        (
            '@action(effects="writes")\ndef act() -> str:\n    """Acts."""\n',
            "line 2: action act: effects must be one of 'none', 'read', 'write', not 'writes'",
        ),
        (
            '@action()\ndef act() -> str:\n    """Acts."""\n',
            "line 2: action act: effects must be one of 'none', 'read', 'write', not None",
        ),
        (
            '@action(effects="none", timeout_seconds="60")\ndef act() -> str:\n    """Acts."""\n',
            "line 2: action act: timeout_seconds must be a number above 0, not '60'",
        ),
        (
            '@action(effects="none")\ndef Act() -> str:\n    """Acts."""\n',
            "line 2: action Act: a name is 1 to 64 of a-z, 0-9 and '_', starting with a letter: rename it, or "
            '@action(name="...")',
        ),
        (
            '@action(effects="none")\ndef act(attachment: str) -> str:\n    """Acts."""\n',
            "line 2: action act: the input name 'attachment' has a meaning of its own in plans: rename the parameter, "
            'and say @action(attachments="one") or "any"',
        ),
        (
            '@action(effects="none")\ndef act(tree: Tree) -> str:\n    """Acts."""\n',
            "line 2: action act: the parameter tree can't be written in JSON (the type Tree contains itself: a plan "
            "can't check values of any depth; take a flat type, such as a list of items that name their parent): take "
            "str, int, float, bool, list, dict, Literal, an Enum, a dataclass, a TypedDict or a pydantic model",
        ),
        (
            '@action(effects="none")\ndef act(city: str) -> str:\n    """Acts.\n\n    Args:\n      town: it\n    """\n',
            "line 2: action act: the docstring describes 'town', which is no parameter",
        ),
        (
            'class City: ...\n\n@action(effects="none")\n@staticmethod\ndef act(city: City) -> str:\n    """Acts."""\n',
            "line 5: action act: the parameter city can't be written in JSON",
        ),
        (
            '@action(effects="none")\ndef act(city: "Missing") -> str:\n    """Acts."""\n',
            "line 2: action act: the hint 'Missing' is not defined when the module is loaded",
        ),
        (
            '@action(effects="none")\ndef act() -> list[int]:\n    """Acts."""\n    yield 1\n',
            "line 2: action act: it yields: return a list of all values instead",
        ),
        ("", "line 1: no function has @action: from orchestrator.sdk import action"),
    ],
)
def test_a_function_that_can_be_no_action_is_refused_with_line_and_advice(
    tmp_path: Path, text: str, message: str
) -> None:
    found = messages(tmp_path, text or "\n")

    if text:
        assert [one[: len(message)] for one in found] == [message]
    else:
        assert found[0].endswith(message.removeprefix("line 1: "))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("def act(:\n", 1, "SyntaxError: invalid syntax"),
        (
            "from orchestrator.sdk import action\n\n@action\ndef act() -> str: ...\n",
            3,
            "TypeError: write @action(",
        ),
        ("import no_such_module\n", 0, "No module named 'no_such_module'"),
    ],
)
def test_an_import_that_fails_names_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int, message: str
) -> None:
    name = f"broken_{line}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises((ContractFault, ImportError)) as found:
        actions_of(name, tmp_path)

    assert str(found.value).startswith(f"{tmp_path / name}.py:{line}: {message}" if line else message)


def test_all_faults_of_a_module_are_named(tmp_path: Path) -> None:
    text = (
        '@action(effects="none")\ndef one(city):\n    """Acts."""\n\n'
        '@action(effects="none")\ndef two(city) -> str:\n    """Acts."""\n'
    )

    found = messages(tmp_path, text)

    assert [line.partition(":")[0] for line in found] == ["line 2", "line 2", "line 6"]


def test_types_that_grow_when_written_out_are_refused_soon(tmp_path: Path) -> None:
    levels = "class L0(BaseModel):\n    a: int\n\n" + "".join(
        f"class L{level}(BaseModel):\n    a: L{level - 1}\n    b: L{level - 1}\n    c: L{level - 1}\n\n"
        for level in range(1, 30)
    )
    text = f'{levels}@action(effects="none")\ndef act(x: L29) -> str:\n    """Acts."""\n'

    found = messages(tmp_path, text)

    assert "it has more than 400 parts" in found[0]


def test_the_actions_of_a_module_are_those_of_its_own_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ContractFault, match="another module has that name"):
        actions_of("json", tmp_path)
