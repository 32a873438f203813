"""Issues and verifies API keys and JWTs, and derives the secrets for webhooks, cache, tickets and links."""

import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.auth import jwks
from orchestrator.models import signing_key
from orchestrator.models.errors import InvalidCredential, InvalidInput, SettingsError
from orchestrator.settings import Settings, Signing

SCOPES = (
    "task:submit",
    "task:read",
    "task:cancel",
    "task:critical",
    "task:approve",
    "arm:list",
    "arm:register",
    "arm:admin",
    "admin",
)
LEAST_SCOPES = ("task:submit", "task:read", "task:cancel", "arm:list")

_ALGORITHM = "EdDSA"
_SHARED_ALGORITHM = "HS256"
_CLOCK_SKEW_SECONDS = 30
_BASE62 = string.digits + string.ascii_letters
_NAME = re.compile("[^\0-\x1f\x7f\ud800-\udfff]{1,255}")
_KEY = re.compile(r"octo_([a-z]{1,16})_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})")


@dataclass(frozen=True)
class Principal:
    """An authenticated caller: a tenant, identified by one of its keys.

    `subject` is the JWT's sub, `expires_at` its exp in seconds since 1970; None if the caller sent an API key.
    """

    tenant: str
    key_id: str
    scopes: frozenset[str]
    subject: str
    expires_at: int | None = None

    def may(self, scope: str) -> bool:
        """Tell whether this caller has `scope`; admin includes all scopes."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class ApiKey:
    """A parsed API key; its secret is left out of `repr`."""

    environment: str
    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """Return the whole key: octo_<environment>_<id>_<secret>."""
        return f"octo_{self.environment}_{self.id}_{self.secret}"

    @property
    def digest(self) -> str:
        """Return the hex SHA-256 of the secret, which we store.

        A slow hash would not add security: the secret is 256 random bits, not a password.
        """
        return hashlib.sha256(self.secret.encode()).hexdigest()


def new_api_key(environment: str = "live") -> ApiKey:
    """Return a new key with a random id (71 bits) and secret (256 bits). Raises InvalidInput."""
    key = ApiKey(environment, id=_random_text(12), secret=_random_text(43))
    if parse_api_key(key.text) is None:
        raise InvalidInput.at("environment", "must be 1 to 16 lower-case letters, such as live or test")
    return key


def parse_api_key(text: str) -> ApiKey | None:
    """Parse a key; return None if it is malformed."""
    match = _KEY.fullmatch(text)
    return ApiKey(*match.groups()) if match else None


def expand_scopes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the named scopes in a fixed order; `all` means every scope. Raises InvalidInput for an unknown name."""
    wanted = set(names)
    unknown = wanted - {*SCOPES, "all"}
    if unknown or not wanted:
        raise InvalidInput.at("scopes", f"unknown: {sorted(unknown)}; known: all, {', '.join(SCOPES)}")
    return SCOPES if "all" in wanted else tuple(scope for scope in SCOPES if scope in wanted)


def require_signing(settings: Settings | Signing) -> None:
    """Raise SettingsError if no key for signing tokens is set."""
    if not (settings.jwt_private_key or settings.jwt_secret):
        raise SettingsError(
            "JWT_PRIVATE_KEY must be set: the API signs tokens with it; `octollm keys tokens` makes a pair of keys"
        )


def sign_token(
    settings: Settings | Signing, *, tenant: str, key_id: str, scopes: Iterable[str], ttl: int | None = None
) -> str:
    """Return a JWT with which its bearer acts as `tenant` for `ttl` seconds (default: JWT_TTL_SECONDS).

    Signed with JWT_PRIVATE_KEY, else with JWT_SECRET. Raises InvalidInput for a ttl above JWT_MAX_AGE_SECONDS.
    """
    require_signing(settings)
    seconds = settings.jwt_ttl_seconds if ttl is None else ttl
    if seconds > settings.jwt_max_age_seconds:
        raise InvalidInput.at("ttl", f"must be at most JWT_MAX_AGE_SECONDS ({settings.jwt_max_age_seconds})")
    now = int(time.time())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": f"{tenant}/{key_id}",
        "iat": now,
        "exp": now + seconds,
        "jti": secrets.token_hex(8),
        "tenant": tenant,
        "key_id": key_id,
        "scopes": sorted(scopes),
    }
    if private := settings.jwt_private_key:
        headers = {"kid": _key_id(settings, signing_key.public_key_of(private))}
        return jwt.encode(claims, signing_key.read_private(private), algorithm=_ALGORITHM, headers=headers)
    return jwt.encode(claims, settings.jwt_secret or "", algorithm=_SHARED_ALGORITHM)


def verify_token(settings: Settings, token: str, *, provider: jwks.KeySet | None = None) -> Principal:
    """Return the caller of a token, issued by us or by the identity provider whose keys are `provider`.

    Raises InvalidCredential, whose details.reason says what is wrong, and Unavailable without the provider's keys.
    The token's header only selects a key; the key determines algorithm and issuer (RFC 8725, 3.1): HS256 for
    JWT_SECRET, EdDSA for our own keys, the algorithm of its JWK entry for a provider's key.
    """
    try:
        claims = _claims(settings, token, provider)
        _reject_long_life(settings, claims)
    except jwt.ExpiredSignatureError as error:
        raise _rejected("expired") from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # PyJWT raises the last three for times that are not numbers, and for JSON that is nested too deeply
        raise _rejected("invalid") from error
    # the leeway is for clocks that are behind the signer's (iat, nbf); it must not extend a token's life
    if int(claims["exp"]) <= time.time():
        raise _rejected("expired")
    return _principal(claims)


def _claims(settings: Settings, token: str, provider: jwks.KeySet | None) -> dict[str, Any]:
    header = jwt.get_unverified_header(token)
    algorithm, key_id = header.get("alg"), header.get("kid")
    issuer = settings.jwt_issuer
    if algorithm == _SHARED_ALGORITHM and settings.jwt_secret is not None:
        return _decoded(settings, token, key=settings.jwt_secret, algorithm=_SHARED_ALGORITHM, issuer=issuer)
    if algorithm == _ALGORITHM and (ours := _public_keys(settings).get(str(key_id))) is not None:
        return _decoded(
            settings, token, key=signing_key.read_public(ours), algorithm=_ALGORITHM, issuer=issuer
        )
    if provider is not None and algorithm in jwks.ALGORITHMS:
        return _foreign_claims(settings, token, provider)
    raise _rejected("invalid")


def _public_keys(settings: Settings | Signing) -> dict[str, str]:
    """Return our public keys by key id: those in JWT_PUBLIC_KEYS, and the one of our private key."""
    keys = dict(settings.jwt_public_keys)
    if settings.jwt_private_key:
        own = signing_key.public_key_of(settings.jwt_private_key)
        keys[_key_id(settings, own)] = own
    return keys


def _key_id(settings: Settings | Signing, public_key: str) -> str:
    """Return the name of a key in JWT_PUBLIC_KEYS, else an id derived from the key."""
    listed = (name for name, key in settings.jwt_public_keys if key == public_key)
    return next(listed, signing_key.key_id_of(public_key))


def _reject_long_life(settings: Settings, claims: dict[str, Any]) -> None:
    """Reject a token with a life above JWT_MAX_AGE_SECONDS, which would limit a thief as little."""
    if int(claims["exp"]) - int(claims["iat"]) > settings.jwt_max_age_seconds:
        raise _rejected("too_long")


def _foreign_claims(settings: Settings, token: str, provider: jwks.KeySet) -> dict[str, Any]:
    """Return the claims of a provider's token under our names: OAuth has `scope` as a string, and no key_id."""
    key = provider.find(str(jwt.get_unverified_header(token).get("kid")))
    if key is None:
        raise _rejected("invalid")
    issuer = settings.jwt_jwks_issuer or settings.jwt_issuer
    claims = _decoded(settings, token, key=key, algorithm=key.algorithm_name, issuer=issuer)
    if "scopes" not in claims and isinstance(claims.get("scope"), str):
        claims["scopes"] = claims["scope"].split()
    claims.setdefault("key_id", claims["sub"])
    return claims


def _decoded(
    settings: Settings, token: str, *, key: str | Ed25519PublicKey | jwt.PyJWK, algorithm: str, issuer: str
) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        issuer=issuer,
        audience=settings.jwt_audience,
        leeway=_CLOCK_SKEW_SECONDS,
        options={"require": ["exp", "iat", "sub", "iss", "aud"], "enforce_minimum_key_length": True},
    )


def _principal(claims: dict[str, Any]) -> Principal:
    tenant, key_id, scopes = (claims.get(name) for name in ("tenant", "key_id", "scopes"))
    named = all(map(_is_name, (tenant, key_id, claims["sub"])))
    if not (named and isinstance(scopes, list) and all(map(_is_name, scopes))):
        raise _rejected("claims")
    return Principal(
        str(tenant),
        str(key_id),
        frozenset(scopes),
        subject=claims["sub"],
        expires_at=int(claims["exp"]),
    )


def _is_name(claim: object) -> bool:
    """Tell whether a claim is a string that can be stored: Postgres accepts neither NUL nor lone surrogates."""
    return isinstance(claim, str) and _NAME.fullmatch(claim) is not None


def webhook_secret(settings: Settings, tenant: str) -> str:
    """Return the secret (64 hex digits) that signs this tenant's webhooks.

    It is derived from WEBHOOK_SECRET, or from JWT_SECRET if that is unset. Raises SettingsError without either.
    Verifiers of Standard Webhooks take this text as it is: they decode it as base64 to a key of 48 bytes.
    """
    root = _root("WEBHOOK_SECRET", settings.webhook_secret, settings.jwt_secret)
    return _derived(root, b"octollm webhook 1\0" + tenant.encode()).hex()


def arm_secret(settings: Settings, arm_id: str) -> str:
    """Return the secret (64 hex digits) that signs the requests to an HTTP arm, for a verifier of Standard Webhooks.

    It is derived from ARM_SECRET, or from JWT_SECRET if that is unset. Raises SettingsError without either.
    """
    root = _root("ARM_SECRET", settings.arm_secret, settings.jwt_secret)
    return _derived(root, b"octollm arm 1\0" + arm_id.encode()).hex()


def cache_secret(settings: Settings) -> bytes:
    """Return the secret that signs entries of the result cache, derived from CACHE_SECRET or JWT_SECRET."""
    root = _root("CACHE_SECRET", settings.cache_secret, settings.jwt_secret)
    return _derived(root, b"octollm cache 1")


def ticket_secret(settings: Settings) -> bytes:
    """Return the secret that signs stream tickets, derived from the key that signs tokens."""
    require_signing(settings)
    return _derived(settings.jwt_private_key or settings.jwt_secret or "", b"octollm ticket 1")


def link_secret(settings: Settings) -> bytes:
    """Return the secret that signs links to approvals, derived from the key that signs tokens."""
    require_signing(settings)
    return _derived(settings.jwt_private_key or settings.jwt_secret or "", b"octollm approval link 1")


def sign_in_secret(settings: Settings | Signing) -> bytes:
    """Return the secret that signs codes for signing in to the console, derived from the key that signs tokens."""
    require_signing(settings)
    return _derived(settings.jwt_private_key or settings.jwt_secret or "", b"octollm sign-in code 1")


def _root(name: str, own: str | None, shared: str | None) -> str:
    if not (own or shared):
        raise SettingsError(f"{name} must be set: at least 32 bytes (openssl rand -base64 48)")
    return own or shared or ""


def _derived(root: str, purpose: bytes) -> bytes:
    return hmac.new(root.encode(), purpose, "sha256").digest()


def sign_webhook(secret: str, *, timestamp: int, body: bytes) -> str:
    """Return the hex HMAC-SHA256 of "<timestamp>.<body>" for the deprecated header X-OctoLLM-Signature."""
    return hmac.new(secret.encode(), b"%d." % timestamp + body, "sha256").hexdigest()


_REASONS = {
    "expired": "The token has expired; get a new one from POST /v1/auth/token.",
    "invalid": "This service does not accept the token.",
    "too_long": "The token is valid for longer than this service accepts.",
    "claims": "The token's claims tenant, key_id and sub must be strings of 1 to 255 characters without control "
    "characters, and scopes a list of such strings.",
}


def _rejected(reason: str) -> InvalidCredential:
    return InvalidCredential(_REASONS[reason], details={"reason": reason})


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))
