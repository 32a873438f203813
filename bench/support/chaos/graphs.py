"""Random tasks with known outcomes: graphs over all arms, repairs, rejections, model calls, duplicates."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from tests.acceptance.plans import Step, collect, ref, verify, wait
from tests.ledger import LEDGERS, append

WORDS: Final = "The goods left the depot on time and the driver signed for them."
SCRIPT: Final = b"""import os, sys
print(6 * 7)
for text in sys.argv[1:]:
    with open(os.path.join(os.environ["OCTOLLM_OUT"], "left.txt"), "w") as file:
        file.write(text)
"""
SCRIPT_NAME: Final = "answer.py"
CRITERION: Final = "The work is told in plain words"
"""A criterion that no rule can check: the judge asks a model, on the task's budget."""

REFUSE: Final = "Please refuse this."
"""What a step asks that the people of the chaos are to reject."""

_SOURCES: Final = ("collect", "verify")


@dataclass(frozen=True)
class Wanted:
    """A task to submit and its expected outcome.

    `statuses` are the ends that are right; `outputs` maps each step to members that its output must have, where
    the task completes.
    """

    kind: str
    contract: Mapping[str, Any]
    statuses: tuple[str, ...] = ("completed",)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cancel_after_seconds: float | None = None


def draw(chance: random.Random, *, script: str | None, longest_wait_seconds: float) -> Wanted:
    """Draw one task; `script` is the artifact id of SCRIPT, which the sandboxed steps need."""
    kinds: dict[Callable[[], Wanted], int] = {
        lambda: draw_graph(
            chance,
            steps=min(50, 5 + int(chance.expovariate(1 / 10))),
            script=script,
            longest_wait_seconds=longest_wait_seconds,
        ): 16,
        lambda: _repaired(chance): 2,
        lambda: _rejected(chance): 1,
        lambda: _judged_by_model(chance): 2,
        lambda: _cancelled(chance): 2,
        lambda: _twin(chance): 2,
        lambda: _asked(chance): 3,
        lambda: _refused(chance): 1,
        lambda: _written(chance): 5,
        lambda: _approved(chance): 2,
        lambda: _filed(chance, script): 2 if script else 0,
        lambda: _looped(chance): 3,
        lambda: _looped_again(chance): 2,
    }
    return chance.choices(list(kinds), weights=list(kinds.values()))[0]()


def draw_graph(
    chance: random.Random, *, steps: int, script: str | None = None, longest_wait_seconds: float = 0.1
) -> Wanted:
    """Draw a graph of that many steps, each with at most four dependencies; numbers are passed along the edges."""
    made: list[Step] = []
    outputs: dict[str, dict[str, Any]] = {}
    for number in range(steps):
        name = f"s{number}"
        after = chance.sample([step["id"] for step in made], k=min(len(made), chance.randint(0, 4)))
        step, outputs[name] = _step(
            chance, name, after, outputs, script=script, longest_wait_seconds=longest_wait_seconds
        )
        made.append(step)
    is_attached = any(step["action"] in {"script", "syntax"} for step in made)
    attached = {"attachments": [script]} if is_attached else {}
    return Wanted("graph", _contract(chance, made, **attached), outputs=outputs)


def _step(
    chance: random.Random,
    name: str,
    after: list[str],
    outputs: Mapping[str, Mapping[str, Any]],
    *,
    script: str | None,
    longest_wait_seconds: float,
) -> tuple[Step, dict[str, Any]]:
    """Return a step and the members that its output must have."""
    numbers = [other for other in after if "values" in outputs[other]]
    action = chance.choices(
        ("collect", "wait", "verify", "redact", "syntax", "script"),
        weights=(8, 5, 3 if numbers else 0, 1, 1 if script else 0, 1 if script else 0),
    )[0]
    if action == "collect":
        own = chance.randint(0, 999)
        taken = [outputs[other]["values"][0] for other in numbers]
        step = collect(name, [own, *(ref(other, "/values/0") for other in numbers)], *after)
        return step, {"values": [own, *taken]}
    if action == "wait":
        return wait(name, round(chance.uniform(0, longest_wait_seconds), 2), *after), {}
    if action == "verify":
        checked = outputs[numbers[0]]["values"][0]
        step = verify(name, ref(numbers[0], "/values/0"), {"equals": checked}, depends_on=after)
        return step, {"passed": True, "checked": 1}
    kinds: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "redact": ("safety-guardian", {"text": WORDS}, {"text": WORDS, "replaced": 0}),
        "syntax": ("coder", {"attachment": script}, {"files_checked": 1, "error_count": 0}),
        "script": ("executor", {"attachments": [script]}, {"exit_code": 0, "stdout": "42\n"}),
    }
    arm, inputs, output = kinds[action]
    return {"id": name, "arm": arm, "action": action, "inputs": inputs, "depends_on": after}, output


def _repaired(chance: random.Random) -> Wanted:
    """A task whose first round fails the judge and whose repair passes."""
    good = chance.randint(1_000, 1_999)
    criterion = {
        "text": "The draft is right",
        "check": {"step": "draft", "pointer": "/values/0", "equals": good},
    }
    steps = [
        collect("draft", [0], repair_inputs={"values": [good]}),
        wait("pause", 0.2, "draft"),
        collect("copy", [ref("draft", "/values/0")], "draft", "pause"),
        collect("apart", [7]),
    ]
    outputs = {"draft": {"values": [good]}, "copy": {"values": [good]}, "apart": {"values": [7]}}
    return Wanted("repaired", _contract(chance, steps, acceptance_criteria=[criterion]), outputs=outputs)


def _rejected(chance: random.Random) -> Wanted:
    """A task with a check that can't pass: every round fails, and dependent steps are skipped."""
    steps = [
        collect("one", [chance.randint(0, 999)]),
        verify("never", ref("one", "/values/0"), {"equals": -1}, depends_on=["one"]),
        wait("behind", 0.1, "never"),
    ]
    return Wanted("rejected", _contract(chance, steps), statuses=("failed",))


def _asked(chance: random.Random) -> Wanted:
    """A task that waits for people: for two at once, for an answer, and for nobody when the time lets a step run."""
    number = chance.randint(0, 999)
    question = {
        "question": "Which number?",
        "context": number,
        "schema": {"type": "object", "required": ["values"]},
    }
    steps = [
        collect("first", [1], approval={"ask": "go?"}),
        collect("second", [2], approval={"ask": "go?"}),
        {"id": "asked", "arm": "human", "action": "answer", "inputs": question, "depends_on": ["first"]},
        wait("late", 0.1, approval={"ask": "in time?", "expires_in": 1, "on_expiry": "approve"}),
        collect(
            "end", [ref("asked", "/values/0"), ref("second", "/values/0")], "late", approval={"ask": "go on?"}
        ),
    ]
    outputs = {"asked": {"values": [number]}, "end": {"values": [number, 2]}}
    return Wanted("asked", _contract(chance, steps), outputs=outputs)


def _refused(chance: random.Random) -> Wanted:
    """A task of which a person refuses a step."""
    steps = [
        collect("one", [chance.randint(0, 999)]),
        wait("never", 0.1, "one", approval={"ask": REFUSE}),
        wait("behind", 0.1, "never"),
    ]
    return Wanted("refused", _contract(chance, steps), statuses=("failed",))


def _judged_by_model(chance: random.Random) -> Wanted:
    """A task whose judge asks a model; if a worker dies during the call, its full reservation may be charged."""
    steps = [collect("one", [chance.randint(0, 999)]), wait("two", 0.1, "one")]
    budget = {"max_tokens": chance.choice((4_000, 40_000)), "max_time_seconds": 3_600}
    contract = _contract(chance, steps, acceptance_criteria=[CRITERION], budget=budget)
    return Wanted("judged_by_model", contract, statuses=("completed", "failed"))


def _cancelled(chance: random.Random) -> Wanted:
    """A task that its client cancels."""
    steps = [wait(f"w{number}", chance.uniform(0.1, 1.0)) for number in range(8)]
    steps.append(collect("end", [1], *(step["id"] for step in steps)))
    return Wanted(
        "cancelled",
        _contract(chance, steps),
        statuses=("cancelled", "completed"),
        cancel_after_seconds=chance.uniform(0, 2),
    )


def _twin(chance: random.Random) -> Wanted:
    """One of a few repeated tasks: it runs, follows a running one, or is answered by the cache."""
    number = chance.randint(1, 3)
    steps = [collect("one", [number]), wait("two", 0.5, "one")]
    criterion = {"text": "It is there", "check": {"step": "one", "pointer": "/values/0", "equals": number}}
    contract = _contract(chance, steps, acceptance_criteria=[criterion])
    return Wanted("twin", {**contract, "goal": f"be twin {number}"})


def _written(chance: random.Random) -> Wanted:
    """A task that writes outside: once in a pool of threads or of processes, then with an action that may run again."""
    number = chance.randint(0, 999)
    took: dict[str, Any] = {
        when: round(chance.uniform(0, 0.6), 2) for when in ("seconds_before", "seconds_after")
    }
    steps = [
        collect("before", [number]),
        append("write", "before", arm=chance.choice(LEDGERS), **took),
        append("note", "before", action="put"),
        collect("after", [number], "write", "note"),
    ]
    written = {"summary": "appended a line"}
    outputs: dict[str, dict[str, Any]] = {
        "before": {"values": [number]},
        "write": written,
        "note": written,
        "after": {"values": [number]},
    }
    return Wanted("written", _contract(chance, steps), outputs=outputs)


def _approved(chance: random.Random) -> Wanted:
    """A task of which a person must approve a pause and a write."""
    number = chance.randint(0, 999)
    steps = [
        collect("one", [number]),
        wait("pause", 0.1, "one", approval={"ask": "may it pause?"}),
        {**append("write", "one", arm=chance.choice(LEDGERS)), "approval": {"ask": "may it write?"}},
        collect("end", [ref("one", "/values/0")], "one", "pause", "write"),
    ]
    outputs: dict[str, dict[str, Any]] = {
        "write": {"summary": "appended a line"},
        "end": {"values": [number]},
    }
    return Wanted("approved", _contract(chance, steps), outputs=outputs)


def _filed(chance: random.Random, script: str | None) -> Wanted:
    """A task whose first step leaves a file, which two others read and a third passes on."""
    text = f"{chance.getrandbits(64):016x}"
    left = {
        "name": "left.txt",
        "artifact_id": sha256(text.encode()).hexdigest(),
        "media_type": "text/plain",
        "size_bytes": len(text),
    }
    file = {"$file": {"from": "make", "name": "left.txt"}}
    make = {"arm": "executor", "action": "script", "inputs": {"attachments": [script], "args": [text]}}
    read = {"arm": "retriever", "action": "inventory", "inputs": {"attachment": file}}
    check = {"arm": "coder", "action": "syntax", "inputs": {"attachment": ref("make", "/files/0")}}
    steps = [{"id": "make", **make}, {"id": "read", **read}, {"id": "check", **check}, collect("pass", file)]
    outputs: dict[str, dict[str, Any]] = {
        "make": {"files": [left], "stdout": "42\n"},
        "read": {"total_files": 1, "total_bytes": len(text)},
        "check": {"files_checked": 0},
        "pass": {"values": left},
    }
    return Wanted("filed", _contract(chance, steps, attachments=[script]), outputs=outputs)


def _looped(chance: random.Random) -> Wanted:
    """A task with a step for each item of a list, in order, one over its outputs, and one that is skipped."""
    # a wait of 0 s is done at once, and one of more than 300 s is refused
    numbers = [chance.choice([0, chance.randint(301, 999)]) for _ in range(chance.randint(0, 12))]
    each = {"for_each": ref("find", "/values"), "inputs": {"values": [{"$item": ""}]}}
    again = {"for_each": ref("each", "/items"), "inputs": {"seconds": {"$item": "/values/0"}}}
    steps = [
        collect("find", numbers),
        {**collect("each", []), **each},
        {**wait("again"), **again, "optional": True},
        collect("never", [0], when={"step": "find", "pointer": "/summary", "equals": "never"}),
        collect("last", [*(ref("each", f"/items/{n}/values/0") for n in range(len(numbers))),
                         ref("each", "/failed"), {**ref("never", "/values"), "default": -1}], "again"),
    ]  # fmt: skip
    outputs: dict[str, dict[str, Any]] = {
        "each": {"count": len(numbers), "failed": 0, "errors": []},
        "again": {"count": len(numbers)},
        "last": {"values": [*numbers, 0, -1]},
    }
    return Wanted("looped", _contract(chance, steps), outputs=outputs)


def _looped_again(chance: random.Random) -> Wanted:
    """A task of which an item fails in its first round, and which passes when that one has run again."""
    count = chance.randint(2, 12)
    check = {"value": {"$item": ""}, "check": {"not_equals": chance.randrange(count)}, "required": True}
    step = {"arm": "judge", "action": "verify", "inputs": check, "repair_inputs": {"check": {"exists": True}}}
    steps = [
        collect("find", list(range(count))),
        {"id": "each", **step, "for_each": ref("find", "/values")},
        collect("last", [ref("each", "/count"), ref("each", "/failed")]),
    ]
    outputs: dict[str, dict[str, Any]] = {
        "each": {"count": count, "failed": 0},
        "last": {"values": [count, 0]},
    }
    return Wanted("looped_again", _contract(chance, steps), outputs=outputs)


def _contract(chance: random.Random, steps: list[Step], **more: Any) -> dict[str, Any]:
    """A task with a unique goal. Its deadline is an hour, since a missed deadline would look like lost work."""
    goal = f"stand the chaos of {chance.getrandbits(48):012x}"
    return {"goal": goal, "plan": {"steps": steps}, "budget": {"max_time_seconds": 3_600}, **more}
