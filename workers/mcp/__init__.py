"""Sessions with MCP servers. Their SDK needs a library that worker processes otherwise do without."""

from orchestrator.process import lean

lean.allow("opentelemetry")
