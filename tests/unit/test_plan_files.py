"""Files in plans: attachments by their names, and files that steps leave, checked before anything runs."""

from typing import Any

import pytest

from orchestrator.models.errors import InvalidPlan, InvalidStepInput
from orchestrator.models.produced_file import files_in
from orchestrator.models.task_contract import Attachment
from orchestrator.planner.check import check_plan
from orchestrator.planner.references import fault_of, resolve

TABLE = Attachment("a" * 64, "table.csv", "text/csv", 9)
CODE = Attachment("b" * 64, "code.tar.gz", "application/gzip", 9)
OTHER = Attachment("c" * 64, "code.tar.gz", "application/gzip", 8)
FILE = {"name": "x.csv", "artifact_id": "d" * 64, "media_type": "text/csv", "size_bytes": 3}
SCRIPT = {"id": "make", "arm": "executor", "action": "script", "inputs": {"attachments": [TABLE.sha256]}}


def step(action: str, inputs: dict[str, Any], arm: str = "retriever") -> dict[str, Any]:
    return {"id": "read", "arm": arm, "action": action, "inputs": inputs}


def checked(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the inputs of the plan's steps."""
    return [one.inputs for one in check_plan(list(steps), attachments=[TABLE, CODE, OTHER]).steps]


def refusal(*steps: dict[str, Any]) -> str:
    with pytest.raises(InvalidPlan) as refused:
        checked(*steps)
    return str(refused.value)


def test_an_attachment_is_called_by_its_name_wherever_an_attachment_is() -> None:
    by_text = step("inventory", {"attachment": "table.csv"})
    by_file = step("inventory", {"attachment": {"$file": {"name": "table.csv"}}})
    listed = step("search", {"query": "q", "attachments": ["table.csv", CODE.sha256]})
    anywhere = step("collect", {"values": [{"$file": {"name": "table.csv"}}, "table.csv"]})

    assert checked(by_text) == checked(by_file) == [{"attachment": TABLE.sha256}]
    assert checked(listed) == [{"query": "q", "attachments": [TABLE.sha256, CODE.sha256]}]
    assert checked(anywhere) == [{"values": [TABLE.sha256, "table.csv"]}]


def test_a_name_of_none_or_of_several_attachments_is_refused_with_those_that_there_are() -> None:
    assert "the task has no attachment 'x'; its attachments: 'table.csv', 'code.tar.gz'" in refusal(
        step("inventory", {"attachment": {"$file": {"name": "x"}}})
    )
    assert "several attachments have the name 'code.tar.gz': name one by its id" in refusal(
        step("inventory", {"attachment": {"$file": {"name": "code.tar.gz"}}})
    )
    assert "the task has no attachment 'nothing.csv'; its attachments: 'table.csv'" in refusal(
        step("inventory", {"attachment": "nothing.csv"})
    )


@pytest.mark.parametrize("name", ["nothing.csv", {"$file": {"name": "nothing.csv"}}])
def test_a_wrong_name_is_one_fault(name: Any) -> None:
    with pytest.raises(InvalidPlan) as found:
        checked(step("search", {"query": "q", "attachments": [name]}))

    assert [fault["field"] for fault in found.value.details["errors"]] == ["steps.0.inputs.attachments.0"]


@pytest.mark.parametrize(
    "inputs",
    [
        {"attachment": {"$file": {"from": "make"}}},
        {"attachment": {"$file": {"from": "make", "name": "any.csv"}}},
        {"attachment": {"$from": "make", "pointer": "/files/3"}},
        {"attachment": {"$from": "make", "pointer": "/files/0/artifact_id"}},
    ],
)
def test_a_file_that_a_step_leaves_stands_where_an_attachment_may(inputs: dict[str, Any]) -> None:
    plan = check_plan([SCRIPT, step("inventory", inputs)], attachments=[TABLE])

    assert plan.steps[1].inputs == inputs
    assert plan.steps[1].depends_on == ("make",)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"attachment": {"$from": "make", "pointer": "/stdout"}},
            "takes a file, and /stdout of step 'make' is",
        ),
        (
            {"attachment": {"$from": "make", "pointer": "/files"}},
            "takes a file, and /files of step 'make' is",
        ),
        ({"attachment": {"$file": {"from": "nobody"}}}, "nobody"),
        ({"attachment": {"$file": {}}}, '$file must be {"from": "step", "name": "file name"}'),
        ({"attachment": {"$file": {"from": "make", "is": 1}}}, "$file must be"),
        ({"attachment": {"$file": {"from": "make"}, "pointer": ""}}, "a reference holds $file only"),
    ],
)
def test_a_reference_that_is_no_file_is_refused(inputs: dict[str, Any], message: str) -> None:
    assert message in refusal(SCRIPT, step("inventory", inputs))


def test_a_file_of_a_step_that_leaves_none_is_refused() -> None:
    wait = {"id": "make", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}

    assert "step 'make' (executor.wait) leaves no file" in refusal(
        wait, step("inventory", {"attachment": {"$file": {"from": "make"}}})
    )
    assert "takes files" in refusal(
        SCRIPT, step("search", {"query": "q", "attachments": {"$file": {"from": "make"}}})
    )


def test_a_file_is_found_by_its_name_at_any_depth_and_must_be_the_only_one() -> None:
    second = {**FILE, "artifact_id": "e" * 64}

    def left(output: Any, **named: str) -> Any:
        return resolve({"$file": {"from": "make", **named}}, {"make": output})

    assert left({"deep": [{"files": [FILE]}], "again": FILE}) == FILE
    assert left({"files": [FILE, {**second, "name": "y"}]}, name="x.csv") == FILE
    for output in ({}, {"files": [FILE, second]}, {"files": [{**FILE, "artifact_id": "short"}]}):
        with pytest.raises(InvalidStepInput, match=r"step make must leave one file named 'x\.csv'"):
            left(output, name="x.csv")
    with pytest.raises(InvalidStepInput, match=r"must leave one file, and it left 2; its files: 'x\.csv'"):
        left({"files": [FILE, second]})


def test_only_the_first_parts_of_an_output_are_searched_for_files() -> None:
    assert list(files_in([*range(30_000), FILE])) == []
    assert len(list(files_in([FILE, *range(30_000)]))) == 1


@pytest.mark.parametrize("value", ["a", 7, [], None, {"from": 3}, {"name": ""}, {"from": "a", "name": None}])
def test_what_is_no_name_of_a_file_is_a_fault(value: Any) -> None:
    assert fault_of({"$file": value}) is not None
