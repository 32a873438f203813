"""What the operator lets tools use: a package index, room for environments, and commands."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.settings import Settings


@dataclass(frozen=True)
class ToolSettings:
    """The settings for tools; without `index_url` there are no environments. It may hold a password."""

    index_url: str | None
    environments: Path
    environment_bytes: int
    environments_bytes: int
    commands: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, settings: Settings) -> "ToolSettings":
        """Return those of a process' settings."""
        return cls(
            settings.pip_index_url,
            settings.environment_cache_dir or settings.octollm_home / "environments",
            settings.environment_max_bytes,
            settings.environment_cache_bytes,
            settings.executor_commands or {},
        )
