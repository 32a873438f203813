"""`octollm fake-llm` serves both protocols without a model, by script, and marks its answers as fake."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from tests.fake_llm.answers import SENTENCE
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted

_COMMAND = [sys.executable, "-c", "from orchestrator.cli.main import main; main()", "fake-llm", "--port", "0"]


def test_the_command_answers_by_script_and_stops_cleanly(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"match": "weather", "text": {"sky": "blue"}}, {"fault": "overloaded"}]))

    with _command("--script", str(script)) as url:
        with pytest.raises(urllib.error.HTTPError) as overloaded:
            _post(f"{url}/v1/messages", "hello")
        headers, body = _post(f"{url}/v1/chat/completions", "the weather?")

    assert overloaded.value.code == 529
    assert json.loads(body["choices"][0]["message"]["content"]) == {"sky": "blue"}
    assert (body["model"], headers["x-octollm-fake"]) == ("fake-m", "true")


def test_an_invalid_script_is_refused_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('[{"fault": "earthquake"}]')

    ended = subprocess.run([*_COMMAND, "--script", str(script)], capture_output=True, text=True, timeout=30)

    assert ended.returncode == 2
    assert "earthquake" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_request_takes_the_first_entry_that_matches_it() -> None:
    with FakeLLM() as fake:
        fake.answer("for b", match="b-prompt")
        fake.fail(Fault.SERVER_ERROR, match="nobody says this")
        fake.answer("for anyone")

        said = [_said(_post(f"{fake.openai_url}/chat/completions", text)[1]) for text in ("a", "b-prompt")]

    assert said == ["for anyone", "for b"]
    assert [request.path for request in fake.received] == ["/v1/chat/completions"] * 2


def test_an_entry_that_stays_answers_every_time_and_others_once() -> None:
    asked = ["again", "again", "one time", "one time"]
    with FakeLLM() as fake:
        fake.add(Scripted("always", match="again", stays=True), Scripted("once", match="one time"))

        said = [_said(_post(f"{fake.openai_url}/chat/completions", text)[1]) for text in asked]

    assert said == ["always", "always", "once", SENTENCE]


def test_a_schema_in_the_prompt_is_followed() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    with FakeLLM() as fake:
        asked = f"It must follow this JSON Schema:\n{json.dumps(schema)}\nGo."

        said = _said(_post(f"{fake.openai_url}/chat/completions", asked)[1])

    assert json.loads(said) == {"n": 3}


def test_an_unknown_path_is_not_found() -> None:
    with FakeLLM() as fake, pytest.raises(urllib.error.HTTPError) as missing:
        _post(f"{fake.url}/v1/images", "hello")

    assert missing.value.code == 404


@contextmanager
def _command(*options: str) -> Iterator[str]:
    with subprocess.Popen([*_COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().removeprefix("ready ").strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def _post(url: str, text: str) -> tuple[HTTPMessage, dict[str, Any]]:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, json.loads(answer.read())


def _said(body: dict[str, Any]) -> str:
    text: str = body["choices"][0]["message"]["content"]
    return text


def test_without_a_checkout_the_command_says_that_it_needs_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("orchestrator.cli.main.find_spec", lambda name: None)

    with pytest.raises(SystemExit) as ended:
        main(["fake-llm"])

    assert ended.value.code == 2
    assert "octollm fake-llm needs a source checkout" in capsys.readouterr().err
