"""A goal is planned by the recipe that fits it, or refused with advice on other wordings."""

import pytest

from orchestrator.models.errors import Unplannable
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import path_lengths
from orchestrator.planner.recipe import plan_by_recipe
from orchestrator.planner.recipes import recipes

PACKAGE = Attachment("a" * 64, "thing-1.0.tar.gz", "application/gzip", 1)
NOTES = Attachment("b" * 64, "notes.txt", "text/plain", 1)


SCRIPT = Attachment("5" * 64, "count.py", "text/x-python", 1)
INPUTS = [Attachment(letter * 64, f"{letter}.txt", "text/plain", 1) for letter in "abc"]
EXPECTED = Attachment("e" * 64, "b.txt.expected", "text/plain", 1)


def plan(goal: str, *attachments: Attachment, context: str | None = None) -> Plan:
    return plan_by_recipe(Contract(goal=goal, context=context), attachments)


@pytest.mark.parametrize(
    ("goal", "attachments", "recipe"),
    [
        ("Audit this Python package", [PACKAGE], "audit-python-package"),
        ("Please review the attached library.", [PACKAGE], "audit-python-package"),
        ("Check the project: syntax, lint, tests and secrets", [PACKAGE], "audit-python-package"),
        ("Scan these files for secrets and personal data", [NOTES], "scan-files"),
        ("Check this package for secrets", [PACKAGE], "scan-files"),
        ('Find "late delivery" in these documents', [NOTES], "search-documents"),
        ("Which documents mention refunds?", [NOTES], "search-documents"),
        ("Answer from these documents: when is a late delivery refunded?", [NOTES], "search-documents"),
        ("What do the notes say about refunds?", [NOTES], "search-documents"),
        ("Run this script on every input and compare the outputs", [SCRIPT, *INPUTS], "run-script"),
        ("Summarise this document", [NOTES], "summarise-documents"),
        ("Please give me a short summary of these notes.", [NOTES], "summarise-documents"),
        ("Summarize it", [NOTES], "summarise-documents"),
    ],
)
def test_a_goal_is_planned_by_the_recipe_whose_words_it_has(
    goal: str, attachments: list[Attachment], recipe: str
) -> None:
    made = plan(goal, *attachments)

    assert made.mode == "rules"
    assert made.provenance["recipe"] == recipe
    assert made.provenance["llm_used"] is False
    assert set(made.provenance["matched"])


@pytest.mark.parametrize(
    ("goal", "attachments"),
    [
        ("Write me a poem", []),
        ("Audit this Python package", []),
        ("Audit this Python package", [NOTES]),
        ("Audit these packages", [PACKAGE, Attachment("c" * 64, "other.zip", "application/zip", 1)]),
        ("Audit this package and fix what you find", [PACKAGE]),
        ("Summarise these documents and find the main idea", [NOTES]),
        ("Find the documents", [NOTES]),
        ("Summarise this document in German", [NOTES]),
        ("Summarise how this function works", [SCRIPT]),
        ("Summarise this document", []),
        ("Run this script on every input", [SCRIPT]),
        ("Run this script on every input", [SCRIPT, SCRIPT, *INPUTS]),
        ("Run this script on every input", [SCRIPT, PACKAGE]),
        ("Run this script on every input", [SCRIPT, INPUTS[0], EXPECTED]),
        ('"Audit this Python package"', [PACKAGE]),
        ("The package was audited yesterday by nobody, why?", []),
    ],
)
def test_a_goal_that_no_recipe_can_serve_is_refused(goal: str, attachments: list[Attachment]) -> None:
    with pytest.raises(Unplannable) as refused:
        plan(goal, *attachments)

    offers = refused.value.details["recipes"]
    assert [offer["recipe"] for offer in offers] == [recipe.recipe for recipe in recipes()]
    assert all(offer["why_not"] and offer["say"] and offer["needs"] for offer in offers)
    assert any("plan" in advice for advice in refused.value.details["advice"])
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("goal", "attachments", "nearest", "lacks"),
    [
        ("Audit this Python package", [], "audit-python-package", "attach a package"),
        ("Audit this Python package", [NOTES], "audit-python-package", "there are 0"),
        ("Scan these files for secrets and personal data", [], "scan-files", "attach a file"),
        ("Write me a sonnet about autumn", [], None, "No recipe fits"),
    ],
)
def test_the_error_names_the_nearest_recipe_what_is_missing_and_every_other_way(
    goal: str, attachments: list[Attachment], nearest: str | None, lacks: str
) -> None:
    with pytest.raises(Unplannable) as refused:
        plan(goal, *attachments)

    assert refused.value.details["nearest"] == nearest
    assert lacks in refused.value.message
    for way in ("--plan", "--attach", "OPENAI_API_KEY", "OPENAI_BASE_URL", "octollm fake-llm"):
        assert way in refused.value.message
    assert all(recipe.say in refused.value.message for recipe in recipes())


def test_the_example_goal_of_each_recipe_works() -> None:
    tables = [Attachment(letter * 64, f"{letter}.csv", "text/csv", 1) for letter in "ab"]
    needed = {
        "package": [PACKAGE],
        "text": [NOTES],
        "script": [SCRIPT, *INPUTS],
        "files": INPUTS[:2],
        "tables": tables,
        "table": tables[:1],
    }

    for recipe in recipes():
        assert plan(recipe.say, *needed[recipe.needs]).provenance["recipe"] == recipe.recipe


def test_a_script_runs_once_for_each_input_and_expected_outputs_are_checked() -> None:
    made = plan("Run this script on these inputs", SCRIPT, *INPUTS, EXPECTED)

    steps = {step.id: step for step in made.steps}
    checks = steps["agreement"].inputs["checks"]
    assert list(steps) == ["syntax", "run-1", "run-2", "run-3", "outputs", "agreement"]
    assert steps["run-2"].inputs["attachments"] == [SCRIPT.sha256, INPUTS[1].sha256]
    assert set(steps["outputs"].depends_on) == {"run-1", "run-2", "run-3"}
    assert list(steps["outputs"].inputs["values"]) == ["1 a.txt", "2 b.txt", "3 c.txt"]
    assert checks[0]["check"]["equals"] == 3
    assert checks[1:] == [
        {
            "text": "The output on 2 b.txt is as expected",
            "check": {"pointer": "/runs/2", "equals": EXPECTED.sha256},
        }
    ]


def test_a_script_runs_on_forty_inputs_and_no_more() -> None:
    many = [Attachment(f"{number:064x}", f"{number}.txt", "text/plain", 1) for number in range(41)]

    assert len(plan("Run this script on every input", SCRIPT, *many[:40]).steps) == 43
    with pytest.raises(Unplannable, match="No recipe fits") as refused:
        plan("Run this script on every input", SCRIPT, *many)

    assert "at most 40 inputs" in str(refused.value.details)


def test_an_audit_has_steps_that_depend_on_others_and_ends_with_a_verification() -> None:
    made = plan("Audit this Python package", PACKAGE)
    steps = {step.id: step for step in made.steps}

    assert len(steps) >= 5
    assert max(path_lengths(made).values()) >= 4
    assert steps["tests"].depends_on == ("syntax", "environment")
    assert made.steps[-1].arm == "judge"
    assert all(
        step.inputs["attachment"] == PACKAGE.sha256 for step in made.steps if "attachment" in step.inputs
    )


@pytest.mark.parametrize(
    ("goal", "query"),
    [
        ('Find "late delivery" and `refund` in the documents', '"late delivery" "refund"'),
        ("Find the refund rules for late deliveries in these documents", "refund rules late deliveries"),
        ("Where do the notes mention Ann-Marie's invoice?", "ann-marie's invoice"),
        ("Answer from these documents: when is a late delivery refunded?", "late delivery refunded"),
    ],
)
def test_a_search_uses_the_quoted_phrases_or_else_the_meaningful_words(goal: str, query: str) -> None:
    assert plan(goal, NOTES).steps[0].inputs["query"] == query


def test_a_context_is_enough_for_a_scan() -> None:
    assert plan("Scan this text for secrets", context="a text").provenance["recipe"] == "scan-files"


def test_a_user_s_braces_are_not_filled() -> None:
    assert plan('Find "{attachment}" in the notes', NOTES).steps[0].inputs["query"] == '"{attachment}"'
