"""Distributes tests over pytest-xdist's workers: those of the shared stack to one worker, all others by file."""

from xdist.scheduler import LoadScopeScheduling

_STACK = "the stack"
_ACCEPTANCE = "tests/acceptance/"
# they start their own processes and do not use the fixture `stack`
_OWN_PROCESSES = frozenset(
    f"{_ACCEPTANCE}test_{name}.py" for name in ("chaos", "demo", "releases", "up", "with_model")
)
_ORDER = (_STACK, _ACCEPTANCE, "tests/integration/")


class ByShare(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed for us
    """Distributes whole shares. xdist's own groups (3.8.0) do not work with pytest 9.2, where a node's id is fixed."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)


def share_of(nodeid: str) -> str:
    """Return the name of the share that a test belongs to; one worker runs a whole share."""
    file = nodeid.partition("::")[0]
    return _STACK if file.startswith(_ACCEPTANCE) and file not in _OWN_PROCESSES else file


def turn_of(nodeid: str) -> int:
    """Return a test's place in the order: the slowest shares first, so that none runs alone at the end."""
    share = share_of(nodeid)
    return next((turn for turn, start in enumerate(_ORDER) if share.startswith(start)), len(_ORDER))
