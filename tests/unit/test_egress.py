"""Users' URLs are contacted only at allowed hosts on the public internet."""

import pytest

from orchestrator.auth.egress import EgressRules, EgressTarget, is_public, parse_target
from orchestrator.models.errors import InvalidInput

ALLOWED = ("hooks.example.com", "*.example.org")
WEBHOOKS = EgressRules("callback_url", "WEBHOOK_ALLOWED_HOSTS", ALLOWED, ("localhost:8443",))
ARMS = EgressRules(
    "url", "ARM_ALLOWED_HOSTS", ALLOWED, ("localhost:8443", "127.0.0.1:5001"), allows_plain=True
)


def parse(url: str) -> EgressTarget:
    return parse_target(url, WEBHOOKS)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.com/a/b?c=d", EgressTarget("hooks.example.com", 443, "/a/b?c=d")),
        ("https://HOOKS.example.com:443", EgressTarget("hooks.example.com", 443, "/")),
        ("https://hooks.example.com./", EgressTarget("hooks.example.com", 443, "/")),
        ("https://a.b.example.org/x", EgressTarget("a.b.example.org", 443, "/x")),
        ("https://localhost:8443/x", EgressTarget("localhost", 8443, "/x", is_local=True)),
    ],
)
def test_an_allowed_url_is_parsed(url: str, target: EgressTarget) -> None:
    assert parse(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://example.org/",
        "https://notexample.org/",
        "https://evil.com/",
        "https://hooks.example.com.evil.com/",
        "https://hooks.example.com:8443/",
        "https://user@hooks.example.com/",
        "https://hooks.example.com@evil.com/",
        "https://hooks.example.com/#fragment",
        "https://evil.com\\@hooks.example.com/",
        "https://hooks.example.com /",
        "https://hooks.example.com/\r\nX: y",
        "https://hooks.example.com:99999/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://localhost/",
        "https://localhost:8444/",
        "https:///x",
        "https://[hooks.example.com]/",
        "hooks.example.com",
        "",
        "https://hooks.example.com/" + "x" * 2048,
    ],
)
def test_any_other_url_is_rejected_with_its_field(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(url)

    assert refused.value.details["errors"][0]["field"] == "callback_url"


def test_plain_http_is_allowed_only_for_arms_at_local_targets() -> None:
    assert parse_target("http://127.0.0.1:5001/run", ARMS) == EgressTarget(
        "127.0.0.1", 5001, "/run", is_local=True, is_plain=True
    )
    for url in ("http://hooks.example.com/", "http://hooks.example.com:443/", "http://127.0.0.1:5002/"):
        with pytest.raises(InvalidInput, match="ARM_ALLOWED_HOSTS"):
            parse_target(url, ARMS)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "192.0.1.1", "100.128.0.1"]
)
def test_internet_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "fec0::1",
        "192.0.0.8",
        "192.0.0.171",
        "100.127.255.255",
        "192.88.99.0",
        "168.63.129.16",
        "198.51.100.7",
        "203.0.113.7",
        "::ffff:192.0.0.8",
        "::ffff:100.64.0.1",
        "::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:808:808::",
        "2001:2::1",
        "3fff::1",
        "5f00::1",
        "100::1",
        "4000::1",
    ],
)
def test_all_other_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)
