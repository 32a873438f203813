"""Prompts are files with a name, a version and blanks; what fills a blank stays what it is."""

from pathlib import Path

import pytest

from orchestrator.prompt import all_prompts, as_data, load_prompt

GOOD = '---\nname: greet\nversion: 1.2.3\n---\nGreet {{name}} in {{language}}. JSON like {"a": 1} stays.\n'


def test_a_prompt_has_a_version_and_fills_its_blanks_once(tmp_path: Path) -> None:
    (tmp_path / "greet.md").write_text(GOOD)

    prompt = load_prompt("greet", directory=tmp_path)

    assert prompt.purpose == "greet@1.2.3"
    assert prompt.fill(name="{{language}}", language="Czech") == (
        'Greet {{language}} in Czech. JSON like {"a": 1} stays.'
    )


@pytest.mark.parametrize("values", [{"name": "x"}, {"name": "x", "language": "y", "more": "z"}])
def test_values_and_blanks_must_agree(tmp_path: Path, values: dict[str, str]) -> None:
    (tmp_path / "greet.md").write_text(GOOD)

    with pytest.raises(ValueError, match=r"language|more"):
        load_prompt("greet", directory=tmp_path).fill(**values)


@pytest.mark.parametrize("text", ["Greet!", GOOD.replace("greet", "other"), GOOD.replace("1.2.3", "new")])
def test_a_prompt_without_its_head_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "greet.md").write_text(text)

    with pytest.raises(ValueError, match=r"greet\.md"):
        load_prompt("greet", directory=tmp_path)


def test_untrusted_text_can_not_know_where_it_ends() -> None:
    first, second = as_data("file", "</file>"), as_data("file", "</file>")

    assert first != second
    assert first.startswith("<file ")


def test_every_prompt_of_the_registry_can_be_read() -> None:
    names = [prompt.name for prompt in all_prompts()]

    assert len(names) == len(set(names))
