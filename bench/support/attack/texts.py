"""Attacks by what a request says: texts and schemas that were made to cost time or answers."""

from collections.abc import Generator
from functools import partial
from typing import Any, Final

from bench.support.attack.scene import DidNotHold, Scene, all_prompt, ends, size_of
from tests.acceptance.plans import collect, ref, verify, wait

AT_ONCE: Final = 8
_EVIL: Final = "^(a+)+$"
_LONG: Final = "a" * 64 + "!"
_MAX_ANSWER_BYTES: Final = 100_000
_ENDED: Final = ("completed", "validation_failed", "invalid_input")


def digits(count: int) -> str:
    """Return a run of digits that made the search for telephone numbers backtrack."""
    return "12 34 " * (count // 6) + "12a"


def digit_runs_in_bodies(scene: Scene) -> Generator[None, None, str]:
    """A goal of 10 kB and a context of 48 kB, eight at once."""
    body = {"goal": digits(9_900), "context": digits(48_000), "plan": {"steps": [wait("a")]}}
    sent = scene.answers(AT_ONCE, scene.post(body))
    yield
    return all_prompt(sent, statuses=(202,))


def digit_runs_in_headers(scene: Scene) -> Generator[None, None, str]:
    """A header of 8 kB and no credential that holds, eight at once."""
    headers = {"X-API-Key": digits(7_900), "X-Request-ID": digits(7_900)}
    stranger = scene.client("stranger")
    call = partial(stranger.call, "GET", "/v1/tasks", headers={"Authorization": "Bearer nobody", **headers})
    sent = scene.answers(AT_ONCE, call)
    yield
    return all_prompt(sent, statuses=(400, 401))


def digit_runs_in_a_file(scene: Scene) -> Generator[None, None, str]:
    """A file of 1 MB for the guardian."""
    file = scene.greedy.upload(digits(1_000_000).encode(), filename="digits.txt")
    scan = {"id": "scan", "arm": "safety-guardian", "action": "scan"}
    begun = [scene.begin(scan, attachments=[file]) for _ in range(2)]
    yield
    return ends(begun, allowed=("completed", "invalid_input"))


def schema_with_a_backtracking_pattern(scene: Scene) -> Generator[None, None, str]:
    """The keyword patternProperties beside additionalProperties or unevaluatedProperties, for the judge."""
    evil = {"patternProperties": {_EVIL: True}}
    schemas = ({**evil, "additionalProperties": False}, {**evil, "unevaluatedProperties": False})
    begun = [
        scene.begin(verify("a", {_LONG: 1}, {"pointer": "", "schema": schema}, required=False))
        for schema in schemas
    ]
    yield
    return ends(begun, allowed=_ENDED)


def schema_whose_references_double(scene: Scene) -> Generator[None, None, str]:
    """60 levels, each of which refers to the next twice: 2^60 steps."""
    defs: dict[str, Any] = {
        f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(60)
    }
    schema = {"$defs": {**defs, "a60": {"type": "string"}}, "$ref": "#/$defs/a0"}
    begun = [scene.begin(verify("a", 1, {"pointer": "", "schema": schema}, required=False))]
    yield
    return ends(begun, allowed=_ENDED)


def many_and_large_schemas(scene: Scene) -> Generator[None, None, str]:
    """50 schemas of 18 kB in one plan, and one of 20,000 properties."""
    small = {"properties": {f"p{number}": {"type": "string"} for number in range(600)}}
    large = {"properties": {f"p{number}": {"type": "string"} for number in range(20_000)}}
    checks = [{"check": {"pointer": "", "schema": small}} for _ in range(50)]
    step = {"id": "a", "arm": "judge", "action": "verify", "inputs": {"value": 1, "checks": checks}}
    sent = scene.answers(2, scene.post({"goal": "many", "plan": {"steps": [step]}}))
    sent += scene.answers(2, scene.post({"goal": "large", "output_schema": large}))
    yield
    return all_prompt(sent, statuses=(422,))


def body_wrong_in_many_places(scene: Scene) -> Generator[None, None, str]:
    """10,000 faults in one body."""
    wrong = {"goal": "x", "acceptance_criteria": [{"check": 1}] * 10_000, "attachments": [5] * 10_000}
    sent = scene.answers(4, scene.post(wrong))
    yield
    told = all_prompt(sent, statuses=(422,))
    largest = max(size_of(future.result().answer) for future in sent)
    if largest > _MAX_ANSWER_BYTES:
        raise DidNotHold(f"the answer has {largest:,} bytes")
    return f"{told}, {largest:,} bytes at most"


def references_that_multiply(scene: Scene) -> Generator[None, None, str]:
    """5,000 references to an output of 300 kB: a small plan that means 1.5 GB."""
    steps = collect("a", "x" * 300_000), collect("b", [ref("a")] * 5_000, "a")
    begun = [scene.begin(*steps)]
    yield
    return ends(begun, allowed=("invalid_input",))
