"""Generates and parses Ed25519 keys, each 32 bytes in base64."""

import base64
import hashlib
import re
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BYTES = 32


def new_private_key() -> str:
    """Return a new private key."""
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()


def public_key_of(private_key: str) -> str:
    """Return the public key of a private one."""
    return base64.b64encode(read_private(private_key).public_key().public_bytes_raw()).decode()


def key_id_of(public_key: str) -> str:
    """Return a key id for a public key without a name: the start of its SHA-256."""
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:16]


def parse_key(text: str) -> str:
    """Return a key's text. Raises ValueError if it is not 32 bytes in base64."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except ValueError:
        size = 0
    if size != _BYTES:
        raise ValueError("32 bytes in base64")
    return text


def parse_named_keys(text: str) -> tuple[tuple[str, str], ...]:
    """Parse `name=key` pairs separated by commas. Raises ValueError."""
    pairs = tuple(
        (name.strip(), key.strip())
        for name, _, key in (item.partition("=") for item in text.split(",") if item.strip())
    )
    wrong = "name=key pairs separated by commas, each name once, each key 32 bytes in base64"
    if len({name for name, _ in pairs}) < len(pairs) or not all(_KEY_ID.fullmatch(name) for name, _ in pairs):
        raise ValueError(wrong)
    try:
        return tuple((name, parse_key(key)) for name, key in pairs)
    except ValueError:
        raise ValueError(wrong) from None


@lru_cache(maxsize=8)
def read_private(key: str) -> Ed25519PrivateKey:
    """Return a private key for signing. Raises ValueError."""
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(key, validate=True))


@lru_cache(maxsize=32)
def read_public(key: str) -> Ed25519PublicKey:
    """Return a public key for verifying. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
