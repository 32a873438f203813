"""Tokens of an identity provider are verified with its public keys, which are fetched over HTTPS and expire."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from orchestrator.auth import jwks
from orchestrator.auth.credential import sign_token, verify_token
from orchestrator.auth.jwks import KeySet
from orchestrator.models.errors import InvalidCredential, SettingsError, Unavailable
from orchestrator.settings import Settings, load
from tests.tls import Received, Reply, Served, make_certificate, serve

ISSUER = "https://id.example.com/"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEEDED = {"DATABASE_URL": "postgresql://nowhere/db", "REDIS_URL": "redis://nowhere/0", "JWT_SECRET": "s" * 40}


def public(key: Any, key_id: str, **more: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.OKPAlgorithm if key is ED_KEY else jwt.algorithms.RSAAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **more}


def token(key: Any, algorithm: str, key_id: str = "k1", **changes: Any) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": "octollm",
        "sub": "user-7",
        "iat": now,
        "exp": now + 60,
        "tenant": "acme",
        "scope": "task:read task:submit",
    }
    kept = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": key_id})


class Provider:
    """An identity provider with keys chosen by the test."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [public(RSA_KEY, "k1"), public(ED_KEY, "k2", use="sig")]
        self.reply: Reply | None = None

    def answer(self, _: Received) -> Reply:
        return self.reply or Reply(body=json.dumps({"keys": self.keys}).encode())


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def served(tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serve(certificate, provider.answer) as running:
        yield running


@pytest.fixture
def settings(served: Served) -> Settings:
    return load({**NEEDED, "JWT_JWKS_URL": f"{served.url}/keys", "JWT_JWKS_ISSUER": ISSUER})


@pytest.fixture
def keys(settings: Settings) -> KeySet:
    assert settings.jwt_jwks_url
    return KeySet(settings.jwt_jwks_url)


@pytest.mark.parametrize(("key", "algorithm", "key_id"), [(RSA_KEY, "RS256", "k1"), (ED_KEY, "EdDSA", "k2")])
def test_the_providers_tokens_are_accepted(
    settings: Settings, keys: KeySet, key: Any, algorithm: str, key_id: str
) -> None:
    principal = verify_token(settings, token(key, algorithm, key_id), provider=keys)

    assert (principal.tenant, principal.key_id, principal.subject) == ("acme", "user-7", "user-7")
    assert principal.scopes == {"task:read", "task:submit"}


def test_our_own_tokens_are_accepted_too(settings: Settings, keys: KeySet, served: Served) -> None:
    ours = sign_token(settings, tenant="acme", key_id="k", scopes=["admin"])

    assert verify_token(settings, ours, provider=keys).may("task:read")
    assert served.received == []


def test_without_a_provider_its_tokens_are_rejected(settings: Settings) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, token(RSA_KEY, "RS256"))


@pytest.mark.parametrize(
    "forged",
    [
        lambda: token(OTHER_KEY, "RS256"),
        lambda: token(RSA_KEY, "RS256", "k2"),
        lambda: token(ED_KEY, "EdDSA", "k1"),
        lambda: token(RSA_KEY, "RS512"),
        lambda: token(RSA_KEY, "RS256", "unknown"),
        lambda: token(RSA_KEY, "RS256", iss="octollm"),
        lambda: token(RSA_KEY, "RS256", aud="others"),
        lambda: token(RSA_KEY, "RS256", exp=int(time.time()) - 1),
        lambda: token(RSA_KEY, "RS256", exp=None),
        lambda: token(RSA_KEY, "RS256", tenant=None),
        lambda: token(RSA_KEY, "RS256", tenant=""),
        lambda: token(RSA_KEY, "RS256", scope=None),
        # the public key as an HMAC secret
        lambda: token(
            RSA_KEY.public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            .hex(),
            "HS256",
        ),
    ],
)
def test_tokens_that_the_provider_did_not_sign_for_us_are_rejected(
    settings: Settings, keys: KeySet, forged: Any
) -> None:
    with pytest.raises(InvalidCredential):
        verify_token(settings, forged(), provider=keys)


def test_keys_are_fetched_once_and_unknown_ids_refetch_them_rarely(
    settings: Settings, keys: KeySet, provider: Provider, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        verify_token(settings, token(RSA_KEY, "RS256"), provider=keys)
    provider.keys.append(public(OTHER_KEY, "k3"))
    for _ in range(3):
        with pytest.raises(InvalidCredential):
            verify_token(settings, token(OTHER_KEY, "RS256", "k3"), provider=keys)
    asked_early = len(served.received)

    monkeypatch.setattr(jwks, "PAUSE_SECONDS", 0)
    verify_token(settings, token(OTHER_KEY, "RS256", "k3"), provider=keys)

    assert (asked_early, len(served.received)) == (1, 2)


def test_a_withdrawn_key_is_rejected_when_the_cache_expires(
    settings: Settings, keys: KeySet, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify_token(settings, token(RSA_KEY, "RS256"), provider=keys)
    provider.keys = [public(ED_KEY, "k2")]
    monkeypatch.setattr(jwks, "KEPT_SECONDS", 0)
    monkeypatch.setattr(jwks, "PAUSE_SECONDS", 0)

    with pytest.raises(InvalidCredential):
        verify_token(settings, token(RSA_KEY, "RS256"), provider=keys)


def test_stale_keys_are_served_for_a_limited_time_while_the_provider_is_down(
    settings: Settings, keys: KeySet, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = token(RSA_KEY, "RS256")
    verify_token(settings, good, provider=keys)
    provider.reply = Reply(status=500)
    monkeypatch.setattr(jwks, "KEPT_SECONDS", 0)
    monkeypatch.setattr(jwks, "PAUSE_SECONDS", 0)

    assert verify_token(settings, good, provider=keys)
    monkeypatch.setattr(jwks, "STALE_SECONDS", 0)
    with pytest.raises(Unavailable):
        verify_token(settings, good, provider=keys)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=302, headers=(("Location", "/elsewhere"),)),
        Reply(body=b"[]"),
        Reply(body=b"not json"),
        Reply(body=b" " * (300 * 1024) + b'{"keys": []}'),
    ],
)
def test_a_response_that_is_not_a_key_set_gives_no_keys(
    settings: Settings, keys: KeySet, provider: Provider, served: Served, reply: Reply
) -> None:
    provider.reply = reply

    with pytest.raises(Unavailable):
        verify_token(settings, token(RSA_KEY, "RS256"), provider=keys)
    assert [request.path for request in served.received] == ["/keys"]


def test_unsupported_keys_are_ignored() -> None:
    entries = [
        {"kty": "oct", "kid": "a", "k": "c2VjcmV0"},
        public(RSA_KEY, "b", use="enc"),
        public(RSA_KEY, "c", alg="RS512"),
        {"kty": "RSA", "kid": "d"},
        {key: value for key, value in public(RSA_KEY, "e").items() if key != "kid"},
        "f",
        public(RSA_KEY, "g", alg="RS256"),
    ]

    assert set(jwks.parse_keys(json.dumps({"keys": entries}).encode())) == {"g"}


@pytest.mark.parametrize(
    "url", ["http://id.example.com/keys", "https://u:p@id.example.com/keys", "file:///etc"]
)
def test_only_https_urls_are_accepted(url: str) -> None:
    with pytest.raises(SettingsError, match="JWT_JWKS_URL"):
        load({**NEEDED, "JWT_JWKS_URL": url})


def test_a_provider_with_an_untrusted_certificate_is_unavailable(
    settings: Settings, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    chosen = replace(settings, jwt_jwks_issuer=None)

    with pytest.raises(Unavailable):
        verify_token(chosen, token(RSA_KEY, "RS256"), provider=KeySet(f"{served.url}/keys"))
