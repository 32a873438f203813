"""Which recipe a goal gets, in one table: recipes do not take each other's goals, nor those that need a model."""

import pytest

from orchestrator.models.errors import Unplannable
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.recipe import plan_by_recipe

NONE: list[Attachment] = []


def attached(*names: str) -> list[Attachment]:
    return [
        Attachment(f"{number:x}" * 64, name, "text/plain", 1) for number, name in enumerate(names, start=1)
    ]


CODE = attached("thing-1.0.tar.gz")
NOTES = attached("notes.txt")
TWO = attached("old.md", "new.md")
TABLES = attached("old.csv", "new.csv")
TABLE = attached("prices.csv")
SCRIPT = attached("count.py", "a.txt", "b.txt")


@pytest.mark.parametrize(
    ("goal", "files", "recipe"),
    [
        ("Audit this Python package", CODE, "audit-python-package"),
        ("Check this package for secrets", CODE, "scan-files"),
        ("Scan these files for passwords", NOTES, "scan-files"),
        ("Run this script on every input and compare the outputs", SCRIPT, "run-script"),
        ('Find "late delivery" in these documents', NOTES, "search-documents"),
        ("What do the notes say about refunds?", NOTES, "search-documents"),
        ("Which documents mention refunds?", NOTES, "search-documents"),
        ("Find all TODOs", CODE, "find-todos"),
        ("List the TODOs in this code by file", CODE, "find-todos"),
        ("Count the TODOs in this package", CODE, "find-todos"),
        ('Find the lines that match "ERROR|WARN" in these logs', NOTES, "find-lines"),
        ('Which lines contain "refund"?', NOTES, "find-lines"),
        ('grep "ERROR" in the lines of this log', NOTES, "find-lines"),
        ("Compare these two CSV files", TABLES, "compare-tables"),
        ('Compare these two tables by "id"', TABLES, "compare-tables"),
        ("What changed between these two spreadsheets?", TABLES, "compare-tables"),
        ("Which rows differ in these two CSV files?", TABLES, "compare-tables"),
        ("Compare these two documents", TWO, "compare-texts"),
        ("Show the differences between these two files", TWO, "compare-texts"),
        ("Diff the old and the new version", TWO, "compare-texts"),
        ("How long does a refund take?", NOTES, "answer-question"),
        ("Who pays for a late delivery?", NOTES, "answer-question"),
        ("Is a gift card refunded?", NOTES, "answer-question"),
        ("Count the words in these files", NOTES, "measure"),
        ("How many words are in this text?", NOTES, "measure"),
        ('What is the average of the column "price" in this CSV file?', TABLE, "measure"),
        ('Sum up the column "price"', TABLE, "measure"),
        ("Convert this CSV file to JSON", TABLE, "convert-table"),
        ("Turn this CSV into a Markdown table", TABLE, "convert-table"),
        ("Check the links in these documents", CODE, "check-links"),
        ("Are there broken links in these docs?", CODE, "check-links"),
        ("Find dead links in this package", CODE, "check-links"),
        ("Run the tests", CODE, "run-tests"),
        ("Run the tests of this Python package with pytest", CODE, "run-tests"),
        ("Test this package", CODE, "run-tests"),
        ("Lint this package", CODE, "lint-package"),
        ("Lint this", CODE, "lint-package"),
        ("Lint and test this package", CODE, "audit-python-package"),
        ("Review this package, its tests and its coverage", CODE, "audit-python-package"),
        ("Convert this CSV to JSON", TABLE, "convert-table"),
        ("grep refund", NOTES, "search-documents"),
        ('grep "refund|late"', NOTES, "find-lines"),
        ("grep TODO", CODE, "find-todos"),
        ("tl;dr", NOTES, "summarise-documents"),
        ("TLDR", NOTES, "summarise-documents"),
    ],
)
def test_a_goal_gets_the_recipe_that_does_what_it_says(
    goal: str, files: list[Attachment], recipe: str
) -> None:
    assert plan_by_recipe(Contract(goal=goal), files).provenance["recipe"] == recipe


@pytest.mark.parametrize(
    ("goal", "files"),
    [
        ("Translate this document", NOTES),
        ("Summarise these documents and compare them", TWO),
        ("Explain this function", CODE),
        ("Write unit tests for this package", CODE),
        ("Fix the TODOs in this code", CODE),
        ("Fix the broken links", CODE),
        ("Run the tests and fix what fails", CODE),
        ("Run the tests", NOTES),
        ("Lint this package and fix it", CODE),
        ("Why does a refund take so long?", NOTES),
        ("How do I translate these two files?", TWO),
        ("Merge these two CSV files", TABLES),
        ("Convert these two CSV files to JSON", TABLES),
        ("Convert this CSV file", attached("notes.txt")),
        ("Convert this CSV to JSON and translate it", TABLE),
        ("Compare these two CSV files", TABLE),
        ("Compare these two documents", NOTES),
        ("How long does a refund take?", NONE),
        ("Find all TODOs", NONE),
        ("Write me a poem", NONE),
        ("Draft an answer to this letter", NOTES),
        ("Rewrite these notes in plain words", NOTES),
        ("Count to ten", NONE),
    ],
)
def test_a_goal_that_needs_a_model_or_other_files_gets_no_recipe(goal: str, files: list[Attachment]) -> None:
    with pytest.raises(Unplannable):
        plan_by_recipe(Contract(goal=goal), files)
