"""Personal data is found by its format and check digits; look-alikes are not."""

import pytest

from orchestrator.safety import scan


def kinds(text: str) -> list[str]:
    return [finding.kind for finding in scan(text)]


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.kind, text[finding.start : finding.end]) for finding in scan(text)]


@pytest.mark.parametrize(
    "card",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "3782 822463 10005",
        "6011111111111117",
        "30569309025904",
        "3530111333300000",
        "6200000000000005",
        "４１１１ １１１１ １１１１ １１１１",
        "4111\u200b1111\u200b1111\u200b1111",
    ],
)
def test_a_card_number_with_a_good_check_digit_is_found_whole(card: str) -> None:
    text = f"She paid with {card} yesterday."

    assert found(text) == [("pii.card", card)]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "order 9123456789012345",
        "IMEI 352099001761481",
        "IMEI: 490154203237518",
        "trace id 4111111111111111",
        "ISBN 978-3-16-148410-0",
        "1700000000000000",
        "0.4111111111111111",
        "30546564.22432292",
        "id a4111111111111111b",
        "411 111 1111 111 1111",
        "EAN 4006381333931",
        "20240115103000",
    ],
)
def test_other_long_numbers_are_not_cards(text: str) -> None:
    assert "pii.card" not in kinds(text)


def test_short_card_numbers_count_only_after_a_label() -> None:
    maestro = "501800000009"

    assert kinds(f"card {maestro}") == ["pii.card"]
    assert kinds(f"lot {maestro}") == []


@pytest.mark.parametrize(
    "iban",
    [
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "GB29 NWBK 6016 1331 9268 19",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NO93 8601 1117 947",
        "MT84MALT011000012345MTLCAST001S",
        "gb82west12345698765432",
        "NL91-ABNA-0417-1643-00",
        "DE 89 3704 0044 0532 0130 00",
    ],
)
def test_an_iban_with_valid_country_length_and_check_digits_is_found_whole(iban: str) -> None:
    text = f"Pay to {iban} today."

    assert found(text) == [("pii.iban", iban)]


@pytest.mark.parametrize(
    "text",
    [
        "DE89370400440532013001",
        "DE8937040044053201300",
        "DE893704004405320130000",
        "XX89370400440532013000",
        "GB29123460161331926819",
    ],
)
def test_an_invalid_iban_is_not_reported(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    "text", ["SSN 123-45-6789", "123-45-6789", "ssn=123456789", "Social Security: 123 45 6789"]
)
def test_a_social_security_number_is_found(text: str) -> None:
    assert kinds(text) == ["pii.ssn"]


@pytest.mark.parametrize(
    "text",
    [
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123456789",
        "part no. 123-45-6789",
        "123-45-67890",
        "2123-45-6789",
        "2024-01-1234",
        "CAS 7732-18-5",
    ],
)
def test_numbers_that_are_never_issued_are_not_social_security_numbers(text: str) -> None:
    assert "pii.ssn" not in kinds(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("from 203.0.113.7 at noon", "203.0.113.7"),
        ("http://198.51.100.23:8080/x", "198.51.100.23"),
        ("10.0.0.0/8 is private", "10.0.0.0"),
        ("ping 8.8.8.8.", "8.8.8.8"),
        ("client=192.168.1.20", "192.168.1.20"),
        ("at 2001:db8:85a3::8a2e:370:7334 now", "2001:db8:85a3::8a2e:370:7334"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::c685:8ff:fe45:641%eth0", "fe80::c685:8ff:fe45:641"),
        ("::ffff:192.0.2.128", "::ffff:192.0.2.128"),
    ],
)
def test_an_ip_address_is_found_whole(text: str, address: str) -> None:
    assert found(text) == [("pii.ip", address)]


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4",
        "v10.4.3.2",
        "Chrome/120.0.6099.129",
        "package==4.3.2.1",
        "upgrade from 3.4.5.6 please",
        "libfoo-1.2.3.4.tar.gz",
        "Git 1.8.1.4 Release Notes",
        "section 4.3.2.1",
        "Mozilla/5.0 (X11; rv:1.9.2.20) Gecko",
        "999.1.1.1",
        "256.1.1.1",
        "1.3.6.1.4.1.311",
        "01.02.03.04",
        "127.0.0.1 and 0.0.0.0 and ::1",
        "netmask 255.255.255.0",
        "12:30:45",
        "aa:bb:cc:dd:ee:ff",
        "00:11:22:33:44:55:66:77",
        "std::vector<int>",
        "x[1::2]",
        "dead::beef",
    ],
)
def test_versions_times_and_special_addresses_are_not_ip_addresses(text: str) -> None:
    assert "pii.ip" not in kinds(text)


@pytest.mark.parametrize(
    "email",
    [
        "john.doe@example.com",
        "a@b.co",
        "test.user+tag@sub.example.co.uk",
        "o'brien@example.ie",
        "почта@пример.рф",
        "john＠example.com",
        "john [at] example [dot] com",
        "john(at)example.com",
        "john at example dot com",
    ],
)
def test_an_e_mail_address_is_found_whole(email: str) -> None:
    assert found(f"Write to {email}, please.") == [("pii.email", email)]


@pytest.mark.parametrize(
    "text",
    [
        "user@localhost",
        "@example.com",
        "user@",
        "user@.com",
        "user@domain.c",
        "a..b@example.com",
        "git@github.com:org/repo.git",
        "npm i lodash@4.17.21",
        "@app.route('/x')",
        "logo@2x.png",
        "W@x.mean()",
        "https://user@example.com/path",
        "meet at noon, dot the i",
    ],
)
def test_other_at_signs_are_not_e_mail(text: str) -> None:
    assert "pii.email" not in kinds(text)


@pytest.mark.parametrize(
    "phone",
    [
        "555-123-4567",
        "(555) 123-4567",
        "+1-555-123-4567",
        "+1 (555) 123-4567",
        "1-800-555-1234",
        "555.123.4567",
        "001-555-123-4567x999",
        "+44 20 7946 0958",
        "+49 (0)30 1234567",
        "+33 1 23 45 67 89",
        "020 7946 0958",
        "06 12 34 56 78",
        "03-1234-5678",
        "138 1234 5678",
        "(11) 91234-5678",
        "+919876543210",
        "+290 22158",
        "+39 06 6988 4857",
    ],
)
def test_a_phone_number_is_found_whole_without_a_label(phone: str) -> None:
    assert found(f"Take {phone} and rest.") == [("pii.phone", phone)]


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("+1 212 555 0123 4567", "+1 212 555 0123"),
        ("dial 0044 20 7946 0958 now", "0044 20 7946 0958"),
    ],
)
def test_an_international_number_has_the_length_of_its_country(text: str, phone: str) -> None:
    assert found(text) == [("pii.phone", phone)]


@pytest.mark.parametrize(
    "text", ["call 5551234567", "tel: 030 123456", "my number is 07700 900123", "phone=5551234"]
)
def test_plain_digits_after_a_label_are_a_phone_number(text: str) -> None:
    assert kinds(text) == ["pii.phone"]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15 10:30:00",
        "01.02.2024 10.30",
        "1700000000",
        "1700000000000",
        "order 5551234567",
        "order 555-123-4567",
        "ticket #555-123-4567",
        "01 02 03 04 05",
        "550e8400-e29b-41d4-a716-446655440000",
        "978-3-16-148410-0",
        "+40.7128 -74.0060",
        "+999 123456789",
        "+43 100 200",
        "12345-678-9012-3456",
        "$1 234 567 890",
        "pages 100-200-3000",
        "192.168.100.200",
        "2024-01-15T10:00:00+02:00",
        "call id 5551234567",
        "ORD-0290-5408-6148",
        "1,234,567,890",
        "0x1234567890",
    ],
)
def test_dates_ids_and_amounts_are_not_phone_numbers(text: str) -> None:
    assert "pii.phone" not in kinds(text)
