"""Finds and redacts personal data and secrets in text, and finds prompt injection.

The rules are 300 expressions. They are compiled when a process first scans a text, because most processes start
without scanning any.
"""

# ruff: noqa: PLC0415 - see above

from orchestrator.safety.finding import SafetyFinding

__all__ = ["SafetyFinding", "maskable", "redact", "scan"]


def scan(text: str) -> list[SafetyFinding]:
    """Return findings of personal data, secrets and prompt injection; see redaction.scan."""
    from orchestrator.safety import redaction

    return redaction.scan(text)


def redact(text: str, *, only: str = "") -> str:
    """Replace personal data and secrets by `[redacted:kind]`; see redaction.redact."""
    from orchestrator.safety import redaction

    return redaction.redact(text, only=only)


def maskable(text: str) -> list[SafetyFinding]:
    """Return what a log must not contain; see redaction.maskable."""
    from orchestrator.safety import redaction

    return redaction.maskable(text)
