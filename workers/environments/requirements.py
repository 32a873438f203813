"""Reads what a package says that it needs, without running it: pyproject.toml, requirements*.txt, setup.cfg, a list.

A requirement names a package of the index by name, extras, versions and marker. Whatever else pip would accept (a URL,
a path, -e, an option) is refused by name: it would reach beyond the operator's index.
"""

import configparser
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from orchestrator.models.errors import InvalidStepInput
from workers.sandbox.limited import limited

TEST_EXTRAS = ("test", "tests", "testing")
MAX_REQUIREMENTS = 200
MAX_LINE_CHARACTERS = 500
_MAX_LISTED = 50
_MAX_DEPTH = 5
_HASH_OPTION = re.compile(r"\s--hash[= ]\S+")
_INCLUDE = re.compile(r"(?:-r|--requirement)[ =]?\s*(\S+)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,100}[A-Za-z0-9])?(?=\s*(?:\[|@|$))")


@dataclass(frozen=True)
class Refused:
    """A line that is not read; `name` is the package that it means, empty when it names none."""

    file: str
    text: str
    reason: str
    name: str = ""


@dataclass
class Needs:
    """What a package needs: requirements in one form each, sorted, and what was refused."""

    requirements: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def name_of(requirement: str) -> str:
    """Return the normal form of the name in a requirement that was read."""
    return canonicalize_name(Requirement(requirement).name)


def read_needs(files: Mapping[str, str], listed: Sequence[str] | None, extras: Sequence[str]) -> Needs:
    """Return what the files of a package (text by name), or the list in their place, say that it needs.

    `extras` are optional dependencies and dependency groups to include where they exist. Raises InvalidStepInput for a
    file that can't be parsed, and for too many requirements.
    """
    read = limited(parse_needs, "what the package says about its dependencies")
    found = read(dict(files), None if listed is None else list(listed), list(extras))
    return Needs(found["requirements"], [Refused(**refused) for refused in found["refused"]])


def parse_needs(
    files: Mapping[str, str], listed: Sequence[str] | None, extras: Sequence[str]
) -> dict[str, Any]:
    """Return Needs as a dict; call it through `limited`."""
    reader = _Reader(files, frozenset(map(canonicalize_name, extras)))
    if listed is not None:
        for text in listed:
            reader.add(text, "requirements")
    else:
        reader.read_all()
    if len(reader.found) > MAX_REQUIREMENTS:
        raise InvalidStepInput(
            f"the package names {len(reader.found)} dependencies: at most {MAX_REQUIREMENTS}"
        )
    return asdict(Needs(sorted(reader.found), reader.refused[:_MAX_LISTED]))


class _Reader:
    def __init__(self, files: Mapping[str, str], extras: frozenset[str]) -> None:
        self.found: set[str] = set()
        self.refused: list[Refused] = []
        self._files = files
        self._extras = extras
        self._own = ""
        self._optional: dict[str, object] = {}

    def read_all(self) -> None:
        if "pyproject.toml" in self._files:
            self._read_pyproject(self._files["pyproject.toml"])
        if "setup.cfg" in self._files:
            self._read_setup_cfg(self._files["setup.cfg"])
        if "install_requires" in self._files.get("setup.py", "") and not self.found:
            self.refused.append(
                Refused(
                    "setup.py", "install_requires", "setup.py is not run: write pyproject.toml or setup.cfg"
                )
            )
        for name in sorted(self._files):
            if re.fullmatch(r"requirements[^/]*\.txt", name):
                self._read_lines(name, depth=0)

    def add(self, text: str, file: str) -> None:
        """Add one requirement, or refuse it."""
        line = text.strip()
        if not line:
            return
        fault, name = "", ""
        if len(line) > MAX_LINE_CHARACTERS or "\n" in line:
            fault = f"it is no single line of at most {MAX_LINE_CHARACTERS} characters"
        elif line.startswith("-"):
            fault = "options are not read"
        else:
            fault, name = self._add(line)
        if fault:
            self.refused.append(Refused(file, line[:MAX_LINE_CHARACTERS], fault, name))

    def _add(self, line: str) -> tuple[str, str]:
        """Add a requirement; return why it is refused, and the name in it."""
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            named = _NAME.match(line)
            return "it is no name of a package with versions", named[0] if named else ""
        if requirement.url is not None:
            return "only packages of the index can be installed, not those of a URL or path", requirement.name
        if canonicalize_name(requirement.name) != self._own:
            self.found.add(str(requirement))
        for extra in requirement.extras if canonicalize_name(requirement.name) == self._own else ():
            # each is read once, so that extras which name each other end
            self._add_all(self._optional.pop(canonicalize_name(extra), []), "pyproject.toml")
        return "", ""

    def _read_pyproject(self, text: str) -> None:
        try:
            parsed = tomllib.loads(text)
        except (ValueError, RecursionError) as fault:
            raise InvalidStepInput(f"pyproject.toml can't be read: {str(fault)[:200]}") from fault
        project = _table(parsed.get("project"))
        self._own = canonicalize_name(str(project.get("name", "")))
        file = "pyproject.toml"
        self._add_all(project.get("dependencies"), file)
        if "dependencies" in _texts(project.get("dynamic")):
            self.refused.append(
                Refused(file, "dynamic = dependencies", "they are known only when the package is built")
            )
        if "poetry" in _table(parsed.get("tool")) and "dependencies" not in project:
            self.refused.append(Refused(file, "[tool.poetry]", "write the dependencies in [project]"))
        optional = _table(project.get("optional-dependencies"))
        self._optional = {canonicalize_name(name): texts for name, texts in optional.items()}
        for extra in sorted(self._extras):
            self._add_all(self._optional.pop(extra, []), file)
        for name, texts in _table(parsed.get("dependency-groups")).items():
            if canonicalize_name(name) in self._extras:
                self._add_all(texts, file)

    def _read_setup_cfg(self, text: str) -> None:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(text)
        except configparser.Error as fault:
            raise InvalidStepInput(f"setup.cfg can't be read: {str(fault)[:200]}") from fault
        self._add_all(parser.get("options", "install_requires", fallback="").splitlines(), "setup.cfg")
        for name in self._extras:
            texts = parser.get("options.extras_require", name, fallback="")
            self._add_all(texts.splitlines(), "setup.cfg")

    def _read_lines(self, name: str, *, depth: int) -> None:
        for line in _joined(self._files[name]):
            included = _INCLUDE.fullmatch(line)
            if included is None:
                self.add(_HASH_OPTION.sub("", line), name)
                continue
            inner = _beside(name, included[1])
            if inner in self._files and depth < _MAX_DEPTH:
                self._read_lines(inner, depth=depth + 1)
            else:
                self.refused.append(
                    Refused(name, line[:MAX_LINE_CHARACTERS], "there is no such file in the package")
                )

    def _add_all(self, texts: object, file: str) -> None:
        for text in _texts(texts):
            self.add(text, file)


def _joined(text: str) -> Iterator[str]:
    """Yield the lines without comments, with continued lines joined."""
    pending = ""
    for line in text.splitlines():
        bare = re.sub(r"(?:^|\s)#.*", "", line).strip()
        pending += bare.removesuffix("\\") + " "
        if not bare.endswith("\\"):
            if pending.strip():
                yield pending.strip()
            pending = ""
    if pending.strip():
        yield pending.strip()


def _beside(name: str, other: str) -> str:
    """Return the path of a file that another one names, "" for one outside of the package."""
    path = PurePosixPath(name).parent / other
    return "" if ".." in path.parts or path.is_absolute() else path.as_posix()


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
