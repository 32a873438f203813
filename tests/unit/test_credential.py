"""What we sign holds, and what anybody else made does not."""

import json
import time
from typing import Any

import jwt
import pytest

from orchestrator import credential
from orchestrator.credential import (
    SCOPES,
    expand_scopes,
    new_api_key,
    parse_api_key,
    sign_token,
    verify_token,
)
from orchestrator.errors import InvalidCredential, InvalidInput
from orchestrator.settings import Settings, load

SECRET = "a-secret-of-more-than-thirty-two-bytes"


@pytest.fixture
def settings() -> Settings:
    return load(
        {"DATABASE_URL": "postgresql://nowhere/db", "REDIS_URL": "redis://nowhere/0", "JWT_SECRET": SECRET}
    )


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good: dict[str, Any] = {
        "iss": "octollm",
        "aud": "octollm",
        "sub": "acme/k1",
        "iat": now,
        "exp": now + 60,
        "tenant": "acme",
        "key_id": "k1",
        "scopes": ["task:read"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=algorithm)


def test_a_token_gives_back_who_it_was_signed_for(settings: Settings) -> None:
    token = sign_token(settings, tenant="acme", key_id="k1", scopes=["task:read", "arm:list"], ttl=60)

    principal = verify_token(settings, token)

    assert (principal.tenant, principal.key_id, principal.subject) == ("acme", "k1", "acme/k1")
    assert principal.may("task:read")
    assert not principal.may("task:submit")


def test_a_token_lives_as_long_as_the_settings_say(settings: Settings) -> None:
    token = sign_token(settings, tenant="acme", key_id="k1", scopes=SCOPES)

    read = jwt.decode(token, options={"verify_signature": False})

    assert read["exp"] - read["iat"] == settings.jwt_ttl_seconds


def test_admin_may_do_everything(settings: Settings) -> None:
    principal = verify_token(settings, signed(scopes=["admin"]))

    assert all(principal.may(scope) for scope in SCOPES)


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "iss", "aud", "tenant", "key_id", "scopes"])
def test_a_token_that_lacks_a_claim_is_refused(settings: Settings, claim: str) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, signed(**{claim: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"aud": "something"},
        {"aud": ["other", "another"]},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"tenant": ""},
        {"tenant": 7},
        {"scopes": "task:read"},
        {"scopes": [1]},
        {"sub": 7},
        {"exp": "soon"},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(settings: Settings, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, _encode_anything(changes))


def test_the_leeway_for_clocks_does_not_lengthen_a_token(settings: Settings) -> None:
    behind = signed(iat=int(time.time()) + 10)
    expired = signed(exp=int(time.time()) - 1)

    verify_token(settings, behind)
    with pytest.raises(InvalidCredential) as refused:
        verify_token(settings, expired)

    assert refused.value.details == {"reason": "expired"}


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_only_our_algorithm_is_accepted(settings: Settings, algorithm: str) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, signed(SECRET * 2, algorithm=algorithm))


def test_an_unsigned_token_is_refused(settings: Settings) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, jwt.encode(claims(), "", algorithm="none"))


@pytest.mark.parametrize(
    "token", ["", ".", "a.b.c", "x" * 10_000, signed("another secret of thirty-two bytes!")]
)
def test_what_we_did_not_sign_is_refused(settings: Settings, token: str) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, token)


def test_a_key_can_be_taken_apart_again() -> None:
    key = new_api_key("test")

    parsed = parse_api_key(key.text)

    assert parsed == key
    assert key.text.startswith(f"octo_test_{key.id}_")
    assert key.secret not in repr(key)
    assert key.digest == credential.ApiKey("live", "x", key.secret).digest


@pytest.mark.parametrize(
    "text", ["", "octo_live_x_y", "sk-123", f"octo_LIVE_{'a' * 12}_{'b' * 43}", "octo_" * 20]
)
def test_what_has_not_the_form_of_a_key_is_none(text: str) -> None:
    assert parse_api_key(text) is None


def test_a_key_with_anything_behind_it_is_none() -> None:
    text = new_api_key().text

    assert [parse_api_key(text + tail) for tail in ("\n", "x", " ")] == [None, None, None]


def test_a_keys_environment_is_one_word() -> None:
    with pytest.raises(InvalidInput):
        new_api_key("My Env")


def test_all_scopes_are_named_all() -> None:
    assert expand_scopes(["all"]) == SCOPES
    assert expand_scopes(["task:read", "task:submit"]) == ("task:submit", "task:read")


@pytest.mark.parametrize("names", [[], ["task:fly"], ["all", "x"]])
def test_an_unknown_scope_is_refused(names: list[str]) -> None:
    with pytest.raises(InvalidInput):
        expand_scopes(names)


def _encode_anything(changes: dict[str, Any]) -> str:
    """Sign claims that jwt.encode itself would refuse to write."""
    payload = json.dumps(claims(**changes)).encode()
    return jwt.PyJWS().encode(payload, SECRET, algorithm="HS256")
