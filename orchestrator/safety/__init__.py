"""The guardian's eyes: finds what is personal, secret or an order to the model, and takes it out."""

from orchestrator.safety.finding import Finding
from orchestrator.safety.redaction import redact, risk, scan

__all__ = ["Finding", "redact", "risk", "scan"]
