"""Finds and redacts personal data and secrets in text, and finds prompt injection."""

from orchestrator.safety.finding import SafetyFinding
from orchestrator.safety.redaction import redact, risk, scan

__all__ = ["SafetyFinding", "redact", "risk", "scan"]
