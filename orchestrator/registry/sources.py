"""Finds the manifests of all arms and all recipes: the built-in ones, an operator's and those of installed packages.

ARMS_PATH is a list of directories, separated as in PATH. In each, `NAME/arm.toml` and `NAME.toml` are manifests; a
directory with an `arm.toml` of its own is one arm. An installed package offers an arm by an entry point of the group
`octollm.arms` that names a package with an `arm.toml` in it; the package is not imported to find it.
Beside a manifest, `actions.json` (for NAME.toml: `NAME.actions.json`) may state the arm's actions.

RECIPES_PATH is a list of directories, too; each JSON or YAML file in them is a recipe.
"""

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from orchestrator.models.errors import SettingsError

REGISTRY: Final = Path(__file__).parent
BUILT_IN: Final = "built-in"
GROUP: Final = "octollm.arms"
MANIFEST: Final = "arm.toml"
RECIPES_PATH: Final = "RECIPES_PATH"
MAX_FILES: Final = 1000
MAX_FILE_BYTES: Final = 2**25
_RECIPES: Final = frozenset((".json", ".yaml", ".yml"))
_OWN: Final = frozenset((".json", ".md", ".py", ".toml"))
# belongs to the tools of Python, not to us
_NOT_MANIFESTS: Final = frozenset(("pyproject.toml", "ruff.toml"))


@dataclass(frozen=True)
class Source:
    """The file of a manifest or a recipe, and where it was found.

    `origin` is built-in, ARMS_PATH, RECIPES_PATH or `package NAME`.
    """

    path: Path
    origin: str

    @property
    def is_built_in(self) -> bool:
        """Return whether the manifest is ours."""
        return self.origin == BUILT_IN

    @property
    def actions_path(self) -> Path:
        """Return the path of the file that may state the arm's actions."""
        own = self.path.name == MANIFEST
        return self.path.with_name("actions.json" if own else f"{self.path.stem}.actions.json")

    def files(self, module: str | None) -> list[Path]:
        """Return the files that decide what the arm offers and does, in order of their paths.

        For `arm.toml`: all code and data in its directory. For NAME.toml, whose directory may hold several arms: the
        manifest, the stated actions and what `module` names. Raises SettingsError for more than MAX_FILES of them, or
        more than MAX_FILE_BYTES together.
        """
        here = self.path.parent
        if self.path.name == MANIFEST:
            found = list(_own_files(here))
        else:
            first = here / (module or "").partition(".")[0]
            found = [self.path, self.actions_path, first.with_name(f"{first.name}.py")]
            found = [path for path in found if path.is_file()]
            found += _own_files(first) if module and first.is_dir() else ()
        if len(found) > MAX_FILES or sum(path.stat().st_size for path in found) > MAX_FILE_BYTES:
            raise SettingsError(
                f"{here} has more than {MAX_FILES:,} files of code and data, or more than {MAX_FILE_BYTES:,} bytes of "
                "them: an arm's directory holds only the arm; move what is not part of it"
            )
        return sorted(found)

    @property
    def search_path(self) -> Path | None:
        """Return the directory from which the arm's module is imported; None: it is installed."""
        return self.path.parent if self.origin == "ARMS_PATH" else None


def _own_files(directory: Path) -> Iterator[Path]:
    """Yield the code and data below a directory, at most one more than MAX_FILES, without what tools keep there."""
    count = 0
    for place, below, names in os.walk(directory):
        below[:] = [
            name for name in below if not (name.startswith((".", "__")) or _is_of_tools(Path(place, name)))
        ]
        for path in (Path(place, name) for name in names):
            if path.suffix in _OWN and path.is_file():
                yield path
                count += 1
                if count > MAX_FILES:
                    return


def _is_of_tools(directory: Path) -> bool:
    return directory.name == "node_modules" or (directory / "pyvenv.cfg").is_file()


def find(registry: Path, arms_path: str) -> list[Source]:
    """Return the sources of all manifests: built-in, then ARMS_PATH, then packages, each in order of names.

    Raises SettingsError for a directory or an entry point that does not lead to a manifest.
    """
    return [*_built_in(registry), *_of_directories(arms_path), *_of_packages()]


def find_recipes(registry: Path, recipes_path: str) -> list[Source]:
    """Return the sources of all recipes: built-in, then those of RECIPES_PATH, each in order of names.

    Of a directory that is not there the directory itself is returned.
    """
    own = [Source(path, BUILT_IN) for path in sorted((registry / "recipes").glob("*.json"))]
    directories = [Path(text.strip()).absolute() for text in recipes_path.split(os.pathsep) if text.strip()]
    return own + [Source(path, RECIPES_PATH) for directory in directories for path in _recipes_in(directory)]


def _recipes_in(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return [directory]
    return sorted(path for path in directory.iterdir() if path.suffix in _RECIPES and path.is_file())


def _built_in(registry: Path) -> Iterator[Source]:
    for path in sorted((registry / "arms").glob("*.toml")):
        yield Source(path, BUILT_IN)


def _of_directories(arms_path: str) -> Iterator[Source]:
    for text in arms_path.split(os.pathsep):
        if not text.strip():
            continue
        directory = Path(text.strip()).absolute()
        if not directory.is_dir():
            raise SettingsError(
                f"ARMS_PATH names {directory}, which is not a directory: make it, or correct ARMS_PATH"
            )
        for path in _manifests_in(directory):
            yield Source(path, "ARMS_PATH")


def _manifests_in(directory: Path) -> list[Path]:
    if (directory / MANIFEST).is_file():
        return [directory / MANIFEST]
    found = [*directory.glob(f"*/{MANIFEST}"), *directory.glob("*.toml")]
    return sorted(path for path in found if path.name not in _NOT_MANIFESTS and path.is_file())


def _of_packages() -> Iterator[Source]:
    points = importlib.metadata.entry_points(group=GROUP)
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        directory = _directory_of(point.module)
        if directory is None or not (directory / MANIFEST).is_file():
            raise SettingsError(
                f"the entry point {point.name} = {point.value} of the group {GROUP} must name a package with "
                f"an {MANIFEST} in it: correct the package that declares it, or uninstall it"
            )
        yield Source(directory / MANIFEST, f"package {point.dist.name if point.dist else point.module}")


def _directory_of(package: str) -> Path | None:
    """Return the directory of a package, without importing it or a parent of it."""
    first, *rest = package.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    for name in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None
