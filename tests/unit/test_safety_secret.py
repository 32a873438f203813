"""Secrets are found by their vendor's format or by the name they are assigned to; look-alikes are not.

Every fake key is put together here at run time, so that no scanner of this repository takes it for a live one.
"""

import base64
import random
import string

import pytest

from orchestrator.safety import scan

_ALNUM = string.ascii_letters + string.digits
_URL_SAFE = _ALNUM + "-_"
_HEX = "0123456789abcdef"


def letters(count: int, alphabet: str = _ALNUM, *, seed: int = 1) -> str:
    chance = random.Random(seed)
    return "".join(chance.choice(alphabet) for _ in range(count))


def jwt() -> str:
    parts = ('{"alg":"HS256","typ":"JWT"}', '{"sub":"1234567890","name":"J"}')
    head, body = (base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.{letters(43, _URL_SAFE)}"


def pem(label: str) -> str:
    body = "\n".join(letters(64, seed=seed) for seed in range(4))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----"


VENDORS = {
    "octollm": "octo_" + "live_" + letters(12) + "_" + letters(43, _URL_SAFE),
    "anthropic": "sk-" + "ant-api03-" + letters(93, _URL_SAFE) + "AA",
    "openai": "sk-" + "proj-" + letters(120, _URL_SAFE),
    "openrouter": "sk-" + "or-v1-" + letters(64, _HEX),
    "github": "gh" + "p_" + letters(36),
    "gitlab": "gl" + "pat-" + letters(20),
    "aws_key": "AK" + "IA" + letters(16, string.ascii_uppercase + "234567"),
    "slack": "xo" + "xb-123456789012-1234567890123-" + letters(24),
    "stripe": "sk" + "_live_" + letters(24),
    "google": "AI" + "za" + letters(35, _URL_SAFE),
    "sendgrid": "SG" + "." + letters(22) + "." + letters(43),
    "npm": "np" + "m_" + letters(36),
    "pypi": "py" + "pi-AgEIcHlwaS5vcmc" + letters(60),
    "huggingface": "h" + "f_" + letters(34),
    "digitalocean": "do" + "p_v1_" + letters(64, _HEX),
    "shopify": "sh" + "pat_" + letters(32, _HEX),
    "databricks": "da" + "pi" + letters(32, _HEX),
    "vault": "hv" + "s." + letters(24),
    "telegram": "1234567890" + ":AA" + letters(33, _URL_SAFE),
    "jwt": jwt(),
    "age": "AGE-" + "SECRET-KEY-1" + letters(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"),
}


@pytest.mark.parametrize("name", sorted(VENDORS))
@pytest.mark.parametrize(
    "frame", ["{}", "key = '{}'", "use {} please", '{{"k": "{}"}}', "A={}\nB=1", "`{}`."]
)
def test_a_vendor_key_is_found_whole_in_every_context(name: str, frame: str) -> None:
    text = frame.format(VENDORS[name])

    secrets = [finding for finding in scan(text) if finding.kind.startswith("secret.")]

    assert [(s.kind, text[s.start : s.end]) for s in secrets] == [(f"secret.{name}", VENDORS[name])]


def test_the_secret_half_of_an_aws_pair_is_found_beside_its_id() -> None:
    secret = letters(40, _ALNUM + "/+", seed=4)
    text = f"{VENDORS['aws_key']} secret key {secret}"

    assert [finding.kind for finding in scan(text)] == ["secret.aws_key", "secret.aws_secret"]


@pytest.mark.parametrize("label", ["RSA PRIVATE " + "KEY", "PRIVATE " + "KEY", "OPENSSH PRIVATE " + "KEY"])
@pytest.mark.parametrize("newline", ["\n", "\\n", "\r\n"])
def test_a_private_key_is_found_from_begin_to_end(label: str, newline: str) -> None:
    block = pem(label).replace("\n", newline)

    (finding,) = scan(f"before {block} after")

    assert (finding.kind, finding.start, finding.end) == ("secret.private_key", 7, 7 + len(block))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password=hunter2", "hunter2"),
        ("password = 'letmein!'", "letmein!"),
        ("DB_PASSWORD=swordfish", "swordfish"),
        ("my password is Tr0ub4dor&3", "Tr0ub4dor&3"),
        ('"password": "S3cr3t-pw"', "S3cr3t-pw"),
        ("postgres://app:S3cretPw@db.internal:5432/x", "S3cretPw"),
        ("redis://:p4ssw0rd9@cache:6379", "p4ssw0rd9"),
        ("mysql -u root -pS3cr3tt db", "S3cr3tt"),
        ("curl -u admin:hunter22 https://x.example", "hunter22"),
        ("deploy --password=hunter2x now", "hunter2x"),
        ("machine h login u password abc123de", "abc123de"),
        (f"api_key = '{letters(32)}'", letters(32)),
        (f"client_secret: {letters(40)}", letters(40)),
        (f"X-API-Key: {letters(32, _HEX)}", letters(32, _HEX)),
        (f"Authorization: Bearer {letters(40)}", letters(40)),
        ("Authorization: Basic YWRtaW46aHVudGVyMg==", "YWRtaW46aHVudGVyMg=="),
    ],
)
def test_a_value_assigned_to_a_secret_name_is_found_without_the_name(text: str, value: str) -> None:
    secrets = [finding for finding in scan(text) if finding.kind.startswith("secret.")]

    assert [text[s.start : s.end] for s in secrets] == [value]


@pytest.mark.parametrize(
    "text",
    [
        "password: required",
        "password = os.environ['DB_PASSWORD']",
        "password=${DB_PASSWORD}",
        "Password: ********",
        "password: my-secret-password",
        "password=None",
        '"password": "string"',
        'password="correct horse battery"',
        "def login(password: str = None) -> None:",
        "password = getpass()",
        "password: user.password1",
        "the password is required",
        "Password must be at least 8 characters",
        "password_file: /run/secrets/db1",
        "postgres://user:password@localhost/db",
        "amqp://guest:guest@localhost//",
        "https://example.com:8080/path@1",
        "api_key: YOUR_API_KEY_HERE",
        "OPENAI_API_KEY=sk-" + "x" * 32,
        "token: Bearer",
        "token_type: Bearer",
        "max_tokens=4096",
        "next_page_token='CAUQAAabc123def456ghi789'",
        "secret_name: my-db-credentials-1",
        "Author-email: someone1",
        "token = get_token(12345678)",
        "if password == other.value1:",
        "basic understanding of things",
        "bearer of bad news from far away",
        "sha256: " + letters(64, _HEX),
        "integrity sha512-" + letters(86) + "==",
        "commit " + letters(40, _HEX),
        "request_id=550e8400-e29b-41d4-a716-446655440000",
        "ssh-rsa " + letters(200),
        "-----BEGIN PUBLIC " + "KEY-----\n" + letters(64) + "\n-----END PUBLIC " + "KEY-----",
        "grep for '-----BEGIN RSA PRIVATE " + "KEY-----' in the tree",
        "sk-learn-is-a-very-long-package-name",
        "eyJhbGciOiJIUzI1NiJ9...",
    ],
)
def test_placeholders_references_and_hashes_are_not_secrets(text: str) -> None:
    assert [finding.kind for finding in scan(text) if finding.kind.startswith("secret.")] == []
