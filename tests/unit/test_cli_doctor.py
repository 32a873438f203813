"""`octollm doctor` names every wrong setting and says what to do."""

from pathlib import Path

from orchestrator import settings
from orchestrator.cli.checks import CheckStatus, _eviction, _skew, _version, row_security_result
from orchestrator.cli.doctor import check_permits, check_settings
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
    found, known = check_settings(_environ(tmp_path, RATE_LIMIT="many", TASK_TIMEOUT="-1"))

    assert {result.subject for result in found} == {"RATE_LIMIT", "TASK_TIMEOUT"}
    assert {result.status for result in found} == {CheckStatus.FAILURE}
    assert known is not None


def test_valid_settings_are_one_line(tmp_path: Path) -> None:
    found, known = check_settings(_environ(tmp_path))

    assert [result.status for result in found] == [CheckStatus.OK]
    assert known is not None


def test_missing_servers_are_a_failure_that_names_octollm_up(tmp_path: Path) -> None:
    found, known = check_settings({"OCTOLLM_HOME": str(tmp_path)})

    assert known is None
    assert found[0].status is CheckStatus.FAILURE
    assert "octollm up" in found[0].advice


def test_a_wrong_secret_is_not_repeated(tmp_path: Path) -> None:
    found, _ = check_settings(_environ(tmp_path, JWT_SECRET="too short"))

    assert found[0].subject == "JWT_SECRET"
    assert "too short" not in str(found)


def test_missing_permit_keys_are_a_warning_and_a_wrong_pair_is_a_failure(tmp_path: Path) -> None:
    private = signing_key.new_private_key()
    public = signing_key.public_key_of(private)

    def status_of(**keys: str) -> CheckStatus:
        known = settings.load(_environ(tmp_path, **keys))
        found = check_permits(known)
        assert (found.status is CheckStatus.OK) != ("PERMIT_PRIVATE_KEY" in found.advice)
        return found.status

    assert status_of() is CheckStatus.WARNING
    assert status_of(PERMIT_PUBLIC_KEY=public) is CheckStatus.OK
    assert status_of(PERMIT_PUBLIC_KEY=public, PERMIT_PRIVATE_KEY=private) is CheckStatus.OK
    assert (
        status_of(PERMIT_PUBLIC_KEY=public, PERMIT_PRIVATE_KEY=signing_key.new_private_key())
        is CheckStatus.FAILURE
    )


def test_missing_row_level_security_is_a_warning_and_a_failure_if_required() -> None:
    off, on = RowSecurityState(False, ("tasks",), "o'ctollm"), RowSecurityState(True, (), "octollm")

    assert row_security_result(off, is_required=False).status is CheckStatus.WARNING
    assert row_security_result(off, is_required=True).status is CheckStatus.FAILURE
    assert "CREATE ROLE octollm_tenant" in row_security_result(off, is_required=False).advice
    assert row_security_result(on, is_required=True).status is CheckStatus.OK


def test_a_redis_that_evicts_any_key_is_a_failure() -> None:
    assert _eviction("allkeys-lru").status is CheckStatus.FAILURE
    assert _eviction("noeviction").status is CheckStatus.OK
    assert _eviction("volatile-ttl").status is CheckStatus.OK


def test_clocks_may_differ_by_less_than_a_second() -> None:
    assert _skew("postgres", 0.2).status is CheckStatus.OK
    assert _skew("postgres", -5.0).status is CheckStatus.WARNING
    assert _skew("postgres", 60.0).status is CheckStatus.FAILURE


def test_servers_must_be_new_enough() -> None:
    assert _version("postgres", 14, 15).status is CheckStatus.FAILURE
    assert _version("postgres", 15, 15).status is CheckStatus.OK
