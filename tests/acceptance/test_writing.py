"""Texts are summarised by the whole product without a model, and the client gets the text as the answer."""

from pathlib import Path

from tests.acceptance.client import Client

MANUAL = (Path(__file__).parents[2] / "examples" / "manual.md").read_bytes()


def test_a_document_is_summarised_without_a_model_by_its_own_sentences(client: Client) -> None:
    manual = client.upload(MANUAL, filename="manual.md")

    task = client.run("Summarise this document", attachments=[manual])

    assert task["status"] == "completed", task
    result = task["result"]
    assert (result["validation_passed"], result["warnings"]) == (True, [])
    assert "[manual.md:" in result["output"]
    assert {step["arm_id"] for step in task["steps"]} == {"writer", "judge"}
