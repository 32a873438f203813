"""Checks a person's decision: whether the approval allows it, and whether its inputs or its answer fit."""

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.lifecycle import output_offload
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.models import record
from orchestrator.models.approval import Decision, Verb
from orchestrator.models.arm_capability import find_action
from orchestrator.models.errors import InvalidInput
from orchestrator.models.plan import Offer
from orchestrator.models.produced_file import files_in, foreign_file, is_file_id
from orchestrator.planner.step_reader import input_faults
from orchestrator.rules import json_schema

MAX_VALUE_BYTES = output_offload.INLINE_BYTES
"""Most bytes of the inputs or the answer in a decision, as JSON."""
MAX_COMMENT_CHARACTERS = 2_000
# about 0.4 CPU seconds: an API's thread checks the answer by a schema that the plan's author wrote
_MAX_ANSWER_WORK = json_schema.MAX_WORK // 5


def check_decision(asked: ApprovalRecord, decision: Decision, *, attachments: Sequence[str]) -> None:
    """Raise InvalidInput for a decision that the approval does not allow, or whose value does not fit.

    `attachments` are those of the task.
    """
    if decision.verb.value not in asked.allow:
        raise InvalidInput.at("decision", f"must be one of {', '.join(asked.allow)}")
    if decision.proposal_hash is not None and decision.proposal_hash != asked.proposal_hash:
        raise InvalidInput.at("proposal_hash", "is not that of this approval: read the approval again")
    if len(decision.comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidInput.at("comment", f"must have at most {MAX_COMMENT_CHARACTERS} characters")
    if decision.has_value and len(record.encode(decision.value).encode()) > MAX_VALUE_BYTES:
        raise InvalidInput.at("value", f"must have at most {MAX_VALUE_BYTES} bytes as JSON")
    faults: list[tuple[str, str]] = []
    if decision.verb is Verb.EDIT:
        faults = _edit_faults(asked, decision.value, attachments)
    elif decision.verb in (Verb.ANSWER, Verb.ACCEPT):
        faults = list(_answer_faults(asked, decision.value, attachments))
    if faults:
        listed = [{"field": field, "message": message} for field, message in faults]
        raise InvalidInput(f"{faults[0][0]}: {faults[0][1]}", details={"errors": listed})


def _edit_faults(asked: ApprovalRecord, inputs: Any, attachments: Sequence[str]) -> list[tuple[str, str]]:
    proposal = asked.proposal
    if find_action(Offer(proposal["arm"], proposal["action"])) is None:
        raise InvalidInput.at(
            "inputs", f"can't be checked: the arm {proposal['arm']} is gone, or has changed"
        )
    named = [proposal["inputs"].get("attachment"), *(proposal["inputs"].get("attachments") or ())]
    known = [*attachments, *filter(is_file_id, named)]
    return input_faults(proposal["arm"], proposal["action"], inputs, attachments=known)


def _answer_faults(
    asked: ApprovalRecord, answer: Any, attachments: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield what the schema says, and a file that the task was not given: a later step could read any by its id."""
    if asked.answer_schema is not None:
        for fault in json_schema.faults(asked.answer_schema, answer, max_work=_MAX_ANSWER_WORK):
            yield ".".join(["answer", *map(str, fault.path)]), fault.message
    own = {*attachments, *(file.artifact_id for file in files_in(asked.proposal["inputs"]))}
    if foreign := foreign_file(answer, own):
        yield "answer", f"names the file {foreign.artifact_id[:12]}..., which the task was not given"
