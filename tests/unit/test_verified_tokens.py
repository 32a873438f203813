"""A verified token is remembered for a minute at most, and never beyond its end."""

import pytest

from api.middleware import auth
from api.middleware.auth import VERIFIED_SECONDS, VerifiedTokens
from orchestrator.auth.credential import Principal
from orchestrator.models.errors import InvalidCredential


class Verifier:
    """Accepts the tokens that it was given and counts how often it was asked."""

    def __init__(self, *, expires_at: int | None = 1_000) -> None:
        self.accepted = {"a": "acme", "b": "umbrella"}
        self.expires_at = expires_at
        self.asked: list[str] = []

    def __call__(self, token: str) -> Principal:
        self.asked.append(token)
        if token not in self.accepted:
            raise InvalidCredential("This service does not accept the token.", details={"reason": "invalid"})
        return Principal(self.accepted[token], "key", frozenset(), "subject", self.expires_at)


def test_a_token_is_verified_once_a_minute() -> None:
    verifier = Verifier()
    tokens = VerifiedTokens(verifier)

    found = [tokens.principal_of("a", now=now).tenant for now in (0.0, 1.0, VERIFIED_SECONDS - 0.1)]
    again = tokens.principal_of("a", now=VERIFIED_SECONDS)

    assert found == ["acme"] * 3
    assert again.tenant == "acme"
    assert verifier.asked == ["a", "a"]


def test_each_token_has_its_own_caller() -> None:
    tokens = VerifiedTokens(Verifier())

    assert [tokens.principal_of(token, now=0.0).tenant for token in "abab"] == [
        "acme",
        "umbrella",
        "acme",
        "umbrella",
    ]


def test_a_token_that_is_no_longer_valid_is_refused_after_a_minute_and_at_its_end() -> None:
    withdrawn, expiring = Verifier(), Verifier(expires_at=30)
    of_withdrawn, of_expiring = VerifiedTokens(withdrawn), VerifiedTokens(expiring)
    of_withdrawn.principal_of("a", now=0.0)
    of_expiring.principal_of("a", now=29.9)

    withdrawn.accepted.clear()
    expiring.accepted.clear()

    with pytest.raises(InvalidCredential):
        of_withdrawn.principal_of("a", now=float(VERIFIED_SECONDS))
    with pytest.raises(InvalidCredential):
        of_expiring.principal_of("a", now=30.0)


def test_a_refused_token_and_one_without_an_end_are_not_remembered() -> None:
    refused, endless = Verifier(), Verifier(expires_at=None)
    of_refused, of_endless = VerifiedTokens(refused), VerifiedTokens(endless)

    for _ in range(2):
        with pytest.raises(InvalidCredential):
            of_refused.principal_of("forged", now=0.0)
        of_endless.principal_of("a", now=0.0)

    assert (refused.asked, endless.asked) == (["forged"] * 2, ["a"] * 2)


def test_a_clock_that_is_set_back_has_tokens_verified_again() -> None:
    verifier = Verifier()
    tokens = VerifiedTokens(verifier)
    tokens.principal_of("a", now=500.0)

    tokens.principal_of("a", now=499.0)

    assert verifier.asked == ["a", "a"]


def test_the_number_of_remembered_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_MAX_VERIFIED_TOKENS", 2)
    verifier = Verifier()
    verifier.accepted = dict.fromkeys("abc", "acme")
    tokens = VerifiedTokens(verifier)

    for token in "abcc":
        tokens.principal_of(token, now=0.0)

    assert verifier.asked == ["a", "b", "c"]
    assert len(tokens._known) == 1
