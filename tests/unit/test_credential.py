"""Tokens and keys that we made are accepted, all others are rejected."""

import base64
import json
import time
from dataclasses import replace
from typing import Any

import jwt
import pytest

from orchestrator.auth import credential
from orchestrator.auth.credential import (
    SCOPES,
    expand_scopes,
    new_api_key,
    parse_api_key,
    sign_token,
    verify_token,
)
from orchestrator.models import signing_key
from orchestrator.models.errors import InvalidCredential, InvalidInput, SettingsError
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


def test_a_token_identifies_the_caller_it_was_signed_for(settings: Settings) -> None:
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
def test_a_token_without_a_required_claim_is_rejected(settings: Settings, claim: str) -> None:
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
def test_a_token_with_a_wrong_claim_is_rejected(settings: Settings, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, _encode_anything(changes))


def test_the_leeway_for_clocks_does_not_extend_a_tokens_life(settings: Settings) -> None:
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


def test_an_unsigned_token_is_rejected(settings: Settings) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, jwt.encode(claims(), "", algorithm="none"))


@pytest.mark.parametrize(
    "token", ["", ".", "a.b.c", "x" * 10_000, signed("another secret of thirty-two bytes!")]
)
def test_a_token_that_we_did_not_sign_is_rejected(settings: Settings, token: str) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, token)


PRIVATE, OLDER = signing_key.new_private_key(), signing_key.new_private_key()
PUBLIC, OLDER_PUBLIC = signing_key.public_key_of(PRIVATE), signing_key.public_key_of(OLDER)
NOWHERE = {"DATABASE_URL": "postgresql://nowhere/db", "REDIS_URL": "redis://nowhere/0"}


def with_keys(**more: str) -> Settings:
    return load({**NOWHERE, "JWT_PRIVATE_KEY": PRIVATE, **more})


def signed_by(private: str, *, kid: str, **changes: Any) -> str:
    return jwt.encode(
        claims(**changes), signing_key.read_private(private), algorithm="EdDSA", headers={"kid": kid}
    )


def test_a_private_key_signs_and_its_public_key_verifies() -> None:
    chosen = with_keys()
    token = sign_token(chosen, tenant="acme", key_id="k1", scopes=["admin"])

    assert jwt.get_unverified_header(token) == {
        "alg": "EdDSA",
        "kid": signing_key.key_id_of(PUBLIC),
        "typ": "JWT",
    }
    assert verify_token(chosen, token).tenant == "acme"
    checks_only = load({**NOWHERE, "JWT_PUBLIC_KEYS": f"{signing_key.key_id_of(PUBLIC)}={PUBLIC}"})
    assert verify_token(checks_only, token).tenant == "acme"


def test_both_keys_are_valid_during_a_rotation() -> None:
    before = with_keys(JWT_PRIVATE_KEY=OLDER, JWT_PUBLIC_KEYS=f"old={OLDER_PUBLIC}")
    after = with_keys(JWT_PUBLIC_KEYS=f"old={OLDER_PUBLIC}, new={PUBLIC}")
    ended = with_keys(JWT_PUBLIC_KEYS=f"new={PUBLIC}")
    old = sign_token(before, tenant="acme", key_id="k1", scopes=["admin"])
    new = sign_token(after, tenant="acme", key_id="k1", scopes=["admin"])

    assert [jwt.get_unverified_header(token)["kid"] for token in (old, new)] == ["old", "new"]
    for chosen, token in ((after, old), (after, new), (ended, new)):
        assert verify_token(chosen, token).tenant == "acme"
    with pytest.raises(InvalidCredential):
        verify_token(ended, old)


def test_a_key_is_valid_only_for_its_own_name_and_algorithm() -> None:
    both = with_keys(JWT_PUBLIC_KEYS=f"old={OLDER_PUBLIC},new={PUBLIC}", JWT_SECRET=SECRET)
    raw = base64.b64decode(PUBLIC)

    forged = [
        signed_by(OLDER, kid="new"),
        signed_by(PRIVATE, kid="old"),
        signed_by(signing_key.new_private_key(), kid="new"),
        signed_by(PRIVATE, kid=""),
        jwt.encode(claims(), raw, algorithm="HS256", headers={"kid": "new"}),
        jwt.encode(claims(), PUBLIC, algorithm="HS256", headers={"kid": "new"}),
        jwt.encode(claims(), SECRET * 2, algorithm="HS512", headers={"kid": "new"}),
        jwt.encode(claims(), "", algorithm="none", headers={"kid": "new"}),
    ]

    for token in forged:
        with pytest.raises(InvalidCredential):
            verify_token(both, token)


def test_a_shared_secret_is_accepted_only_if_one_is_set() -> None:
    verify_token(with_keys(JWT_SECRET=SECRET), signed())
    with pytest.raises(InvalidCredential):
        verify_token(with_keys(), signed())


def test_signing_without_a_key_is_an_error() -> None:
    with pytest.raises(SettingsError, match="JWT_PRIVATE_KEY"):
        sign_token(load(NOWHERE), tenant="acme", key_id="k1", scopes=["admin"])


@pytest.mark.parametrize("life", [86_401, 10**9, 10**30])
def test_a_token_with_a_longer_life_than_allowed_is_rejected(settings: Settings, life: int) -> None:
    now = int(time.time())
    verify_token(settings, signed(iat=now, exp=now + 86_400))

    with pytest.raises(InvalidCredential) as refused:
        verify_token(settings, signed(iat=now, exp=now + life))

    assert refused.value.details == {"reason": "too_long"}


def test_a_token_that_never_expires_is_rejected(settings: Settings) -> None:
    values: tuple[object, ...] = (float("inf"), [], {})
    for never in values:
        with pytest.raises(InvalidCredential):
            verify_token(settings, _encode_anything({"exp": never}))


def test_we_sign_no_token_that_we_would_reject(settings: Settings) -> None:
    with pytest.raises(InvalidInput):
        sign_token(settings, tenant="acme", key_id="k1", scopes=["admin"], ttl=86_401)


def test_cache_and_webhook_secrets_do_not_depend_on_the_token_keys() -> None:
    own = {"CACHE_SECRET": "c" * 40, "WEBHOOK_SECRET": "w" * 40}
    one, other = with_keys(**own), with_keys(**own, JWT_PRIVATE_KEY=OLDER, JWT_SECRET="other" * 8)

    assert credential.cache_secret(one) == credential.cache_secret(other)
    assert credential.webhook_secret(one, "acme") == credential.webhook_secret(other, "acme")
    assert credential.ticket_secret(one) != credential.ticket_secret(other)


def test_derived_secrets_are_all_different(settings: Settings) -> None:
    every = {
        credential.cache_secret(settings).hex(),
        credential.ticket_secret(settings).hex(),
        credential.webhook_secret(settings, "acme"),
        credential.webhook_secret(replace(settings, webhook_secret="w" * 40), "acme"),
        credential.cache_secret(replace(settings, cache_secret="w" * 40)).hex(),
    }

    assert len(every) == 5


def test_a_missing_root_secret_is_named() -> None:
    bare = load(NOWHERE)

    with pytest.raises(SettingsError, match="CACHE_SECRET"):
        credential.cache_secret(bare)
    with pytest.raises(SettingsError, match="WEBHOOK_SECRET"):
        credential.webhook_secret(bare, "acme")


def test_an_api_key_can_be_parsed() -> None:
    key = new_api_key("test")

    parsed = parse_api_key(key.text)

    assert parsed == key
    assert key.text.startswith(f"octo_test_{key.id}_")
    assert key.secret not in repr(key)
    assert key.digest == credential.ApiKey("live", "x", key.secret).digest


@pytest.mark.parametrize(
    "text", ["", "octo_live_x_y", "sk-123", f"octo_LIVE_{'a' * 12}_{'b' * 43}", "octo_" * 20]
)
def test_a_malformed_api_key_is_none(text: str) -> None:
    assert parse_api_key(text) is None


def test_an_api_key_with_a_suffix_is_none() -> None:
    text = new_api_key().text

    assert [parse_api_key(text + tail) for tail in ("\n", "x", " ")] == [None, None, None]


def test_a_keys_environment_is_one_word() -> None:
    with pytest.raises(InvalidInput):
        new_api_key("My Env")


def test_all_scopes_are_named_all() -> None:
    assert expand_scopes(["all"]) == SCOPES
    assert expand_scopes(["task:read", "task:submit"]) == ("task:submit", "task:read")


@pytest.mark.parametrize("names", [[], ["task:fly"], ["all", "x"]])
def test_an_unknown_scope_is_rejected(names: list[str]) -> None:
    with pytest.raises(InvalidInput):
        expand_scopes(names)


def _encode_anything(changes: dict[str, Any]) -> str:
    """Sign claims that jwt.encode itself would refuse to write."""
    payload = json.dumps(claims(**changes)).encode()
    return jwt.PyJWS().encode(payload, SECRET, algorithm="HS256")
