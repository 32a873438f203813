"""A test that needs a missing program is skipped, and fails in continuous integration."""

import pytest

from tests import machine


@pytest.mark.parametrize(("value", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_program_is_a_failure_in_continuous_integration(
    value: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", value)

    with pytest.raises(outcome, match="no Postgres with wings"):
        machine.lacks("Postgres with wings")
