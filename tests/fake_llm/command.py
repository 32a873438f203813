"""`octollm fake-llm`: runs the fake model server."""

import json
import signal
import threading
from pathlib import Path

import click

from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8099, show_default=True, help="0: any free port."
)
@click.option(
    "--script",
    "script_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON: [{"match": "words of a prompt", "text": "the answer"}, {"fault": "rate_limited"}, ...]; each entry '
    'answers one request, or with "stays": true any number. examples/fake_model.json plans, answers and judges.',
)
def fake_llm(port: int, script_path: Path | None) -> None:
    """Serve the protocols of OpenAI and Anthropic on 127.0.0.1 without a model, to try the LLM path.

    Requests without a script entry get a value that fits the schema they ask for. A model named fake-FAULT fails in
    that way. The trace marks the results as fake.
    """
    entries = read_script(script_path) if script_path else []
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with FakeLLM(port=port) as fake:
        fake.add(*entries)
        click.echo(f"ready {fake.url}")
        click.echo(f"export OPENAI_BASE_URL={fake.openai_url} LLM_CHAIN=openai:fake-model", err=True)
        click.echo(f"or     ANTHROPIC_BASE_URL={fake.anthropic_url} LLM_CHAIN=anthropic:fake-model", err=True)
        click.echo("faults: " + ", ".join(fault for fault in Fault if fault is not Fault.NONE), err=True)
        stop.wait()


def read_script(path: Path) -> list[Scripted]:
    """Return the entries of a script file. Raises UsageError."""
    try:
        entries = json.loads(path.read_text("utf-8"))
        return [
            Scripted(
                **{**entry, "fault": Fault(entry.get("fault", Fault.NONE)), "text": _text(entry.get("text"))}
            )
            for entry in entries
        ]
    except (ValueError, TypeError, AttributeError) as error:
        raise click.UsageError(f"{path} is not a valid script: {error}") from None


def _text(answer: object) -> str | None:
    return answer if isinstance(answer, str | None) else json.dumps(answer)
