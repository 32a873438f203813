"""The doctor names every wrong setting, and says what to do."""

from pathlib import Path

from orchestrator import settings
from orchestrator.cli.doctor import examine_permits, examine_settings
from orchestrator.cli.examine import _eviction, _skew, _version, row_security_finding
from orchestrator.cli.finding import State
from orchestrator.memory.row_security import RowSecurityState
from orchestrator.models import signing_key


def _environ(home: Path, **settings: str) -> dict[str, str]:
    return {
        "OCTOLLM_HOME": str(home),
        "DATABASE_URL": "postgresql://postgres@127.0.0.1:1/octollm",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "JWT_SECRET": "a secret that is longer than 32 bytes",
    } | settings


def test_all_wrong_settings_are_named_at_once(tmp_path: Path) -> None:
    found, known = examine_settings(_environ(tmp_path, RATE_LIMIT="many", TASK_TIMEOUT="-1"))

    assert {finding.subject for finding in found} == {"RATE_LIMIT", "TASK_TIMEOUT"}
    assert {finding.state for finding in found} == {State.TROUBLE}
    assert known is not None


def test_good_settings_are_one_line(tmp_path: Path) -> None:
    found, known = examine_settings(_environ(tmp_path))

    assert [finding.state for finding in found] == [State.GOOD]
    assert known is not None


def test_without_servers_it_says_who_makes_them(tmp_path: Path) -> None:
    found, known = examine_settings({"OCTOLLM_HOME": str(tmp_path)})

    assert known is None
    assert found[0].state is State.TROUBLE
    assert "octollm up" in found[0].advice


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    found, _ = examine_settings(_environ(tmp_path, JWT_SECRET="too short"))

    assert found[0].subject == "JWT_SECRET"
    assert "too short" not in str(found)


def test_missing_keys_of_permits_are_worth_knowing_and_a_wrong_pair_is_trouble(tmp_path: Path) -> None:
    private = signing_key.new_private_key()
    public = signing_key.public_key_of(private)

    def told(**keys: str) -> State:
        known = settings.load(_environ(tmp_path, **keys))
        found = examine_permits(known)
        assert (found.state is State.GOOD) != ("PERMIT_PRIVATE_KEY" in found.advice)
        return found.state

    assert told() is State.NOTE
    assert told(PERMIT_PUBLIC_KEY=public) is State.GOOD
    assert told(PERMIT_PUBLIC_KEY=public, PERMIT_PRIVATE_KEY=private) is State.GOOD
    assert told(PERMIT_PUBLIC_KEY=public, PERMIT_PRIVATE_KEY=signing_key.new_private_key()) is State.TROUBLE


def test_row_level_security_that_is_off_is_worth_knowing_and_trouble_where_it_is_required() -> None:
    off, on = RowSecurityState(False, ("tasks",), "o'ctollm"), RowSecurityState(True, (), "octollm")

    assert row_security_finding(off, is_required=False).state is State.NOTE
    assert row_security_finding(off, is_required=True).state is State.TROUBLE
    assert "CREATE ROLE octollm_tenant" in row_security_finding(off, is_required=False).advice
    assert row_security_finding(on, is_required=True).state is State.GOOD


def test_a_redis_that_evicts_any_key_is_trouble() -> None:
    assert _eviction("allkeys-lru").state is State.TROUBLE
    assert _eviction("noeviction").state is State.GOOD
    assert _eviction("volatile-ttl").state is State.GOOD


def test_clocks_may_differ_by_less_than_a_second() -> None:
    assert _skew("postgres", 0.2).state is State.GOOD
    assert _skew("postgres", -5.0).state is State.NOTE
    assert _skew("postgres", 60.0).state is State.TROUBLE


def test_servers_must_be_new_enough() -> None:
    assert _version("postgres", 14, 15).state is State.TROUBLE
    assert _version("postgres", 15, 15).state is State.GOOD
