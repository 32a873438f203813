"""The reflex check at the door: what a task's goal, constraints and context must not bring in."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from orchestrator.models.errors import BlockedByPolicy
from orchestrator.models.task_contract import Contract
from orchestrator.safety.finding import Finding
from orchestrator.safety.redaction import scan, without

Policy = Literal["off", "redact", "block"]

# "ignore previous instructions" alone scores 0.92; what only sounds like an order stays below
CRITICAL_INJECTION = 0.9
_HIGH_RISK = ("secret.", "pii.card", "pii.iban", "pii.ssn")
# no finding reads over it as if two texts were one
_BETWEEN = "\n\n\x1f\n\n"
_ROUNDS = 6
_EVERYTHING = "[redacted]"


def screen(contract: Contract, policy: Policy) -> Contract:
    """Return the contract without secrets and high-risk personal data; `redacted` says how many of which kind.

    Raises BlockedByPolicy for an injection that is certain, and under `block` for anything that would be redacted.
    A plan's inputs are left alone: they may be what the guardian is to look at. One scan for an ordinary task; only
    texts in which it finds something are looked at again.
    """
    if policy == "off":
        return contract
    texts = list(_texts([contract.goal, contract.constraints, contract.context]))
    findings = scan(_BETWEEN.join(texts))
    _refuse(f for f in findings if f.is_injection and f.score >= CRITICAL_INJECTION)
    private = [finding for finding in findings if finding.kind.startswith(_HIGH_RISK)]
    if not private:
        return contract
    if policy == "block":
        _refuse(private)
    taken: Counter[str] = Counter()
    cleaned = {text: _redacted(text, taken) for text in _holding(texts, private)}
    if not taken:
        return contract

    def clean(text: str) -> str:
        return cleaned.get(text, text)

    return replace(
        contract,
        goal=clean(contract.goal),
        constraints=_mapped(contract.constraints, clean),
        context=_mapped(contract.context, clean),
        redacted=dict(sorted(taken.items())),
    )


def _refuse(findings: Iterable[Finding]) -> None:
    kinds = sorted({finding.kind for finding in findings})
    if kinds:
        raise BlockedByPolicy(
            f"The safety policy refuses this task: it holds {', '.join(kinds)}.", details={"kinds": kinds}
        )


def _redacted(text: str, taken: Counter[str]) -> str:
    """Replace what is high-risk, again while taking something out shows more; count it in `taken`."""
    for _ in range(_ROUNDS):
        findings = [finding for finding in scan(text) if finding.kind.startswith(_HIGH_RISK)]
        if not findings:
            return text
        taken.update(finding.kind for finding in findings)
        text = without(text, findings)
    return _EVERYTHING


def _holding(texts: Sequence[str], findings: Sequence[Finding]) -> set[str]:
    """Return those of the joined texts in which a finding lies, or begins or ends."""
    starts, at = [], 0
    for text in texts:
        starts.append(at)
        at += len(text) + len(_BETWEEN)
    held: set[str] = set()
    for finding in findings:
        first, last = (bisect_right(starts, place) - 1 for place in (finding.start, finding.end - 1))
        held.update(texts[first : last + 1])
    return held


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _mapped(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value
