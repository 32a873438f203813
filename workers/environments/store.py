"""The environments of this machine: virtual environments by the hash of their lock, built once, the oldest removed.

The directory holds `envs/ID`, each a virtual environment that is never changed, `held/ID`, a lock file for each, and
`locks/KEY`, what requirements were resolved to. A build happens in a directory beside them and is renamed when it is
whole, so that a builder which is killed leaves nothing that is used.
"""

import fcntl
import hashlib
import json
import os
import platform
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import structlog

from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from workers.environments.index_relay import Index
from workers.environments.installer import TOOLS, Installer, NotInstalled, check_lock, size_of
from workers.sandbox import cleanup

LOCK_SECONDS = 86_400.0
"""How long requirements keep their lock; then the index is asked for newer versions."""
_WAIT_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Python:
    """What an environment is made for, besides its lock."""

    version: str
    platform: str

    @classmethod
    def here(cls) -> "Python":
        """Return that of this worker."""
        return cls(platform.python_version(), sysconfig.get_platform())


def packages_of(lock: str) -> list[tuple[str, str]]:
    """Return the names and versions in a lock."""
    pairs = [line.partition(" ")[0].partition("==") for line in lock.splitlines()]
    return [(name, version) for name, _, version in pairs]


def id_of(lock: str) -> str:
    """Return the id of a lock's environment for this worker's Python."""
    here = Python.here()
    return _digest(lock, here.version, here.platform)


@dataclass(frozen=True)
class EnvironmentStore:
    """The environments below `directory`: each of at most `max_bytes`, all of `total_bytes` unless all are in use."""

    directory: Path
    max_bytes: int
    total_bytes: int

    def lock(self, requirements: Sequence[str], installer: Installer) -> str:
        """Return the lock of requirements: the one that was found in the last 24 hours, or a new one.

        Raises NotInstalled, and the errors of the installer's `checkpoint`.
        """
        here = Python.here()
        index = Index(installer.index_url).url
        key = _digest(*requirements, "", *TOOLS, index, here.version, here.platform, version("uv"))
        place = self._part("locks") / key
        try:
            if place.stat().st_mtime > time.time() - LOCK_SECONDS:
                return check_lock(place.read_text("utf-8"))
        except (OSError, NotInstalled):
            pass
        with self._staging() as staging:
            lock = installer.lock(requirements, staging)
            (staging / "lock").write_text(lock, "utf-8")
            (staging / "lock").rename(place)
        self._drop_old_locks()
        return lock

    @contextmanager
    def using(
        self, lock: str, installer: Callable[[], Installer], checkpoint: Callable[[], None]
    ) -> Iterator[Path]:
        """Give the directory of a lock's environment, which stays until the block ends; builds it if there is none.

        Of several builders of the same one builds, the others wait. Raises NotInstalled, and the errors of
        `checkpoint`.
        """
        name = id_of(check_lock(lock))
        place = self._part("envs") / name
        while True:
            with self._held(name, fcntl.LOCK_SH, checkpoint):
                if place.is_dir():
                    os.utime(place)
                    yield place
                    return
            with self._held(name, fcntl.LOCK_EX, checkpoint):
                if not place.is_dir():
                    self._build(lock, place, installer())
            self._evict(keep=name)

    def _build(self, lock: str, place: Path, installer: Installer) -> None:
        started = time.monotonic()
        with self._staging() as staging:
            made = installer.install(lock, staging)
            size = size_of(made)
            if size > self.max_bytes:
                raise NotInstalled(f"the environment takes more than {self.max_bytes} bytes")
            (made / "octollm.json").write_text(json.dumps({"bytes": size}), "utf-8")
            crash_point.here(Point.BUILT_NOT_PUT_IN_PLACE)
            made.rename(place)
        log.info(
            "environment.built",
            environment=place.name,
            bytes=size,
            seconds=round(time.monotonic() - started, 1),
        )

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """Give a directory beside the environments; those of workers that have died are removed."""
        cleanup.remove_abandoned(self._part("."))
        staging = Path(tempfile.mkdtemp(prefix=cleanup.directory_prefix(), dir=self._part("."))).resolve()
        try:
            yield staging
        finally:
            cleanup.remove(staging)

    @contextmanager
    def _held(self, name: str, how: int, checkpoint: Callable[[], None]) -> Iterator[None]:
        """Hold an environment's lock file, shared or alone, until the block ends."""
        while (descriptor := self._try_hold(name, how)) is None:
            checkpoint()
            time.sleep(_WAIT_SECONDS)
        try:
            yield
        finally:
            os.close(descriptor)

    def _try_hold(self, name: str, how: int) -> int | None:
        """Return the descriptor of the lock file, None while another process or thread holds it otherwise."""
        place = self._part("held") / name
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            # it may have been removed with its environment meanwhile
            if place.exists() and os.path.samestat(place.stat(), os.fstat(descriptor)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    def _evict(self, *, keep: str) -> None:
        """Remove the environments that were used longest ago, except those in use, until the rest is small enough."""
        total = 0
        for place in sorted(self._part("envs").iterdir(), key=_used_at, reverse=True):
            total += _bytes_of(place)
            if total <= self.total_bytes or place.name == keep:
                continue
            descriptor = self._try_hold(place.name, fcntl.LOCK_EX)
            if descriptor is None:
                continue
            try:
                total -= _bytes_of(place)
                with self._staging() as aside:
                    place.rename(aside / "old")
                    (self._part("held") / place.name).unlink()
                log.info("environment.removed", environment=place.name)
            finally:
                os.close(descriptor)

    def _drop_old_locks(self) -> None:
        for place in self._part("locks").iterdir():
            try:
                if place.stat().st_mtime < time.time() - LOCK_SECONDS:
                    place.unlink()
            except FileNotFoundError:
                continue

    def _part(self, name: str) -> Path:
        part = self.directory.absolute() / name
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
        return part


def _used_at(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _bytes_of(place: Path) -> int:
    try:
        return int(json.loads((place / "octollm.json").read_text("utf-8"))["bytes"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
