"""Screens the texts of a submitted task, and of a fork of one, before they are stored."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from orchestrator.models.errors import BlockedByPolicy
from orchestrator.models.fork import Fork
from orchestrator.models.task_contract import Contract
from orchestrator.safety.finding import SafetyFinding
from orchestrator.safety.redaction import replace_findings, scan

Policy = Literal["off", "redact", "block"]

# "ignore previous instructions" alone scores 0.92; ordinary imperative wording scores less
CRITICAL_INJECTION = 0.9
_HIGH_RISK = ("secret.", "pii.card", "pii.iban", "pii.ssn")
SEPARATOR = "\n\n\x1f\n\n"
"""Separates texts that are scanned together: no finding spans it."""
_ROUNDS = 6
_ALL_REDACTED = "[redacted]"


def screen(contract: Contract, policy: Policy) -> Contract:
    """Return the contract without secrets and high-risk personal data; its `redacted` counts them by kind.

    Raises BlockedByPolicy for a certain injection and, under `block`, for anything that would be redacted. The inputs
    of a plan are not screened, because they may be meant for the guardian. An ordinary task takes one scan; only texts
    with findings are scanned again.
    """
    cleaned, counts = _cleaned(
        [contract.goal, contract.constraints, contract.context, contract.parameters], policy
    )
    if not counts:
        return contract

    def clean(text: str) -> str:
        return cleaned.get(text, text)

    return replace(
        contract,
        goal=clean(contract.goal),
        constraints=_mapped(contract.constraints, clean),
        context=_mapped(contract.context, clean),
        parameters=_mapped(contract.parameters, clean),
        redacted=dict(sorted(counts.items())),
    )


def screen_fork(fork: Fork, policy: Policy) -> tuple[Fork, Mapping[str, int]]:
    """Return what a fork sets with its instructions and criteria screened as a contract is, and the counts by kind.

    The inputs of steps are not screened, as those of a plan are not. Raises BlockedByPolicy.
    """
    criteria = fork.criteria or ()
    cleaned, counts = _cleaned([dict(fork.prompt), [item["text"] for item in criteria]], policy)
    if not counts:
        return fork, counts

    def clean(text: str) -> str:
        return cleaned.get(text, text)

    return replace(
        fork,
        prompt={name: clean(text) if text else text for name, text in fork.prompt.items()},
        criteria=[{**item, "text": clean(item["text"])} for item in criteria]
        if fork.criteria is not None
        else None,
    ), counts


def _cleaned(values: Any, policy: Policy) -> tuple[dict[str, str], Counter[str]]:
    """Return the redacted texts by what they were, and how much was redacted, by kind. Raises BlockedByPolicy."""
    counts: Counter[str] = Counter()
    if policy == "off":
        return {}, counts
    texts = list(strings_in(values))
    findings = scan(SEPARATOR.join(texts))
    _refuse(f for f in findings if f.is_injection and f.score >= CRITICAL_INJECTION)
    private = [finding for finding in findings if finding.kind.startswith(_HIGH_RISK)]
    if not private:
        return {}, counts
    if policy == "block":
        _refuse(private)
    return {text: _redacted(text, counts) for text in texts_with(texts, private)}, counts


def _refuse(findings: Iterable[SafetyFinding]) -> None:
    kinds = sorted({finding.kind for finding in findings})
    if kinds:
        raise BlockedByPolicy(
            f"The safety policy refuses this task: it contains {', '.join(kinds)}.", details={"kinds": kinds}
        )


def _redacted(text: str, counts: Counter[str]) -> str:
    """Redact high-risk findings until none is left, and count them in `counts`."""
    for _ in range(_ROUNDS):
        findings = [finding for finding in scan(text) if finding.kind.startswith(_HIGH_RISK)]
        if not findings:
            return text
        counts.update(finding.kind for finding in findings)
        text = replace_findings(text, findings)
    return _ALL_REDACTED


def texts_with(texts: Sequence[str], findings: Sequence[SafetyFinding]) -> set[str]:
    """Return those of the texts, joined by SEPARATOR, that overlap a finding."""
    starts, at = [], 0
    for text in texts:
        starts.append(at)
        at += len(text) + len(SEPARATOR)
    held: set[str] = set()
    for finding in findings:
        first, last = (bisect_right(starts, index) - 1 for index in (finding.start, finding.end - 1))
        held.update(texts[first : last + 1])
    return held


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, member names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _mapped(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value
