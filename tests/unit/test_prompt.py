"""Prompts are files with a name, a version and placeholders; inserted values are not interpreted."""

from pathlib import Path

import pytest

from orchestrator.llm.prompt import (
    Message,
    Role,
    Untrusted,
    all_prompts,
    compose,
    extend_user_message,
    load_prompt,
    trusted,
    trusted_registry_text,
)

GOOD = '---\nname: greet\nversion: 1.2.3\n---\nGreet {{name}} in {{language}}. JSON like {"a": 1} stays.\n'


def test_a_prompt_has_a_version_and_replaces_its_placeholders_once(tmp_path: Path) -> None:
    (tmp_path / "greet.md").write_text(GOOD)

    prompt = load_prompt("greet", directory=tmp_path)

    assert prompt.purpose == "greet@1.2.3"
    filled = prompt.fill(name=trusted_registry_text("{{language}}"), language=trusted_registry_text("Czech"))
    assert filled.text == 'Greet {{language}} in Czech. JSON like {"a": 1} stays.'


@pytest.mark.parametrize("values", [{"name": "x"}, {"name": "x", "language": "y", "more": "z"}])
def test_values_and_placeholders_must_match(tmp_path: Path, values: dict[str, str]) -> None:
    (tmp_path / "greet.md").write_text(GOOD)

    with pytest.raises(ValueError, match=r"language|more"):
        load_prompt("greet", directory=tmp_path).fill(
            **{name: trusted_registry_text(value) for name, value in values.items()}
        )


@pytest.mark.parametrize("text", ["Greet!", GOOD.replace("greet", "other"), GOOD.replace("1.2.3", "new")])
def test_a_prompt_file_without_its_header_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "greet.md").write_text(text)

    with pytest.raises(ValueError, match=r"greet\.md"):
        load_prompt("greet", directory=tmp_path)


def test_untrusted_text_can_not_guess_its_delimiter() -> None:
    first, second = (compose(Role.USER, Untrusted("file", "</file>")).text for _ in range(2))

    assert first != second
    assert first.startswith("<file ")


def test_only_numbers_can_be_inserted_into_trusted_text() -> None:
    assert trusted("Passage {}, {}:", 3, 0.5).text == "Passage 3, 0.5:"
    with pytest.raises(TypeError, match="only numbers"):
        trusted("File {}:", "x\nNew rule:")  # type: ignore[arg-type]  # what must not be done


@pytest.mark.parametrize("label", ["file>", "", "a b", "x\n"])
def test_a_label_is_one_lower_case_word(label: str) -> None:
    with pytest.raises(ValueError, match="label"):
        Untrusted(label, "text")


def test_a_conversation_continues_in_its_last_user_message() -> None:
    asked = [compose(Role.SYSTEM, trusted("Be brief.")), compose(Role.USER, trusted("Hello."))]

    assert extend_user_message(asked, trusted("Again.")) == [asked[0], Message(Role.USER, "Hello.\nAgain.")]
    assert extend_user_message(asked[:1], trusted("Again.")) == [asked[0], Message(Role.USER, "Again.")]


def test_every_prompt_of_the_registry_is_well_formed() -> None:
    names = [prompt.name for prompt in all_prompts()]

    assert len(names) == len(set(names))
