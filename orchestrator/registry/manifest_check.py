"""Checks what is written in a manifest, and says for each fault the file, the line and what to write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from orchestrator.models.errors import SettingsError
from orchestrator.registry.manifest_keys import ACTION, ACTION_NAME, ARM, WORKER, Key
from orchestrator.registry.written_lines import line_of

MAX_FAULTS: Final = 10
# what a kind of arm can't do without, and what to write
_OF_KIND: Final = {
    "function": (("worker", "module"), 'write module = "..." in [worker]: the module with the functions'),
    "http": (("url",), 'write url = "https://...": the address of the service'),
    "mcp": (("mcp",), "write a table [mcp] with the server's command or URL"),
}


@dataclass
class Faults:
    """The faults of one file, whose text is `text`."""

    file: Path
    text: str
    found: list[str] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Return whether no more faults are kept."""
        return len(self.found) >= MAX_FAULTS

    def add(self, place: Sequence[str], message: str) -> None:
        """Add a fault at a key, which is named by its parents and itself."""
        if not self.is_full:
            line = line_of(self.text, place, file=self.file)
            self.found.append(f"{self.file}:{line}: {'.'.join(place) or 'the manifest'} {message}")

    def raise_if_any(self) -> None:
        """Raise SettingsError with all faults, one a line."""
        if self.found:
            raise SettingsError("\n".join(self.found))


def check_manifest(written: Mapping[str, Any], faults: Faults, *, ours: bool) -> None:
    """Add the faults of a manifest's own keys, except those of its actions. `ours`: it is a built-in one."""
    _check_table(written, ARM, (), faults, ours=ours)
    worker = written.get("worker", {})
    if isinstance(worker, Mapping):
        _check_table(worker, WORKER, ("worker",), faults, ours=ours)
    if not ours and isinstance(worker, Mapping):
        kind = written.get("kind") or (
            "http" if "url" in written else "mcp" if "mcp" in written else "function"
        )
        for name, (place, advice) in _OF_KIND.items():
            is_there = place[-1] in (worker if len(place) > 1 else written)
            if name == kind and not is_there:
                faults.add(place, f"is missing: {advice}")


def check_actions(actions: Mapping[str, Any], faults: Faults, *, inside: Sequence[str], ours: bool) -> None:
    """Add the faults of the actions, which are written in the table `inside` of the file."""
    if not actions:
        faults.add(inside, "has no action: write at least one table [actions.NAME]")
    for name, action in actions.items():
        place = (*inside, name)
        if not ACTION_NAME.fullmatch(name):
            faults.add(place, "must be named by 1 to 128 of a-z, A-Z, 0-9, _, . and -")
        if not isinstance(action, Mapping):
            faults.add(place, f"must be a table: write [{'.'.join(place)}]")
            continue
        _check_table(action, ACTION, place, faults, ours=ours)
        for side in ("input", "output"):
            if side in action and f"{side}_schema" in action:
                faults.add((*place, side), f"is written twice: leave out {side} or {side}_schema")


def _check_table(
    table: Mapping[str, Any], keys: Mapping[str, Key], place: Sequence[str], faults: Faults, *, ours: bool
) -> None:
    known = {name: key for name, key in keys.items() if ours or not key.ours}
    for name, value in table.items():
        if faults.is_full:
            return
        if name not in known:
            faults.add((*place, name), _unknown(name, keys, known))
        elif not known[name].fits(value):
            faults.add((*place, name), f"must be {known[name].wanted}")
    for name in _missing(table, known):
        faults.add((*place, name), f"is missing: it must be {known[name].wanted}")


def _missing(table: Mapping[str, Any], known: Mapping[str, Key]) -> Iterator[str]:
    return (name for name, key in known.items() if key.required and name not in table)


def _unknown(name: str, keys: Mapping[str, Key], known: Mapping[str, Key]) -> str:
    if name in keys:
        return "is for built-in arms only: leave it out"
    from difflib import get_close_matches  # noqa: PLC0415 - only a faulty manifest needs it

    close = get_close_matches(name[:40], known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"the keys here are {', '.join(known)}"
    return f"is an unknown key: {advice}"
