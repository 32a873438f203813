"""Files are uploaded and downloaded unchanged, under their SHA-256."""

import hashlib
from io import BytesIO

import pytest

from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.kit import Engineer

SIZES = [1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1_000_000]


def content_of(size: int) -> bytes:
    return (b"\x00\xff\r\n\\x41" + bytes(range(256))) * (size // 262 + 1) if size > 262 else b"\x00" * size


@pytest.mark.parametrize("size", SIZES)
def test_a_downloaded_file_equals_the_uploaded_one(call: Caller, size: int) -> None:
    content = content_of(size)[:size]

    stored = call("POST", "/v1/files?filename=a.bin", data=content, content_type="application/zip")
    fetched = call("GET", stored.headers["Location"])

    assert stored.status_code == 201
    assert stored.json["artifact_id"] == stored.json["sha256"] == hashlib.sha256(content).hexdigest()
    assert (stored.json["filename"], stored.json["media_type"]) == ("a.bin", "application/zip")
    assert stored.json["size_bytes"] == size
    assert_time(stored.json["created_at"])
    assert fetched.status_code == 200
    assert fetched.data == content
    assert fetched.mimetype == "application/zip"


def test_a_file_may_be_sent_as_a_form(call: Caller) -> None:
    form = {"file": (BytesIO(b"print('hi')\n"), "hi.py", "text/x-python"), "other": "ignored"}

    stored = call("POST", "/v1/files", data=form)

    assert (stored.json["filename"], stored.json["media_type"]) == ("hi.py", "text/x-python")
    assert call("GET", stored.headers["Location"]).data == b"print('hi')\n"


def test_an_empty_file_is_accepted_in_a_form(call: Caller) -> None:
    stored = call("POST", "/v1/files", data={"file": (BytesIO(b""), "__init__.py")})

    fetched = call("GET", stored.headers["Location"])

    assert (stored.json["size_bytes"], stored.json["filename"]) == (0, "__init__.py")
    assert (fetched.status_code, fetched.data) == (200, b"")


def test_the_same_content_is_the_same_file_under_its_newest_name(call: Caller) -> None:
    first = call("POST", "/v1/files?filename=a.txt", data=b"same", content_type="text/plain").json
    second = call("POST", "/v1/files?filename=b.txt", data=b"same", content_type="text/plain").json

    assert first["artifact_id"] == second["artifact_id"]
    assert first["created_at"] == second["created_at"]
    assert second["filename"] == "b.txt"


def test_a_stored_file_can_be_attached_to_a_task(call: Caller) -> None:
    file_id = call("POST", "/v1/files", data=b"text", content_type="text/plain").json["artifact_id"]

    answer = call("POST", "/v1/tasks", json={"goal": "read it", "attachments": [file_id, file_id]})

    contract = call("GET", f"/v1/tasks/{answer.json['task_id']}/trace").json["contract"]
    assert contract["attachments"] == [file_id]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\windows\\a.txt", "a.txt"),
        ('a"b\r\nX-Evil: 1', 'a"bX-Evil: 1'),
        ("naïve 😀.txt", "naïve 😀.txt"),
        ("..", "file"),
        ("", "file"),
        ("x" * 300, "x" * 255),
        ("a\x00b", "ab"),
    ],
)
def test_a_name_is_kept_without_its_path(call: Caller, given: str, kept: str) -> None:
    stored = call("POST", "/v1/files", query_string={"filename": given}, data=b"x", content_type="text/plain")
    fetched = call("GET", stored.headers["Location"])

    assert stored.json["filename"] == kept
    assert fetched.headers["Content-Disposition"].startswith("attachment")
    assert "X-Evil" not in fetched.headers


def test_a_file_is_never_shown_by_a_browser(call: Caller) -> None:
    stored = call("POST", "/v1/files", data=b"<script>", content_type="text/html")

    fetched = call("GET", stored.headers["Location"])

    assert fetched.headers["Content-Disposition"].startswith("attachment")
    assert fetched.headers["X-Content-Type-Options"] == "nosniff"
    assert fetched.headers["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize("media_type", ["", "nonsense", "a/b/c", "x" * 100 + "/y"])
def test_a_malformed_media_type_becomes_octet_stream(call: Caller, media_type: str) -> None:
    stored = call("POST", "/v1/files", data=b"x", content_type=media_type)

    assert stored.json["media_type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "request_of", [{"data": b""}, {"data": {"other": "x"}}, {"data": {"file": "no file"}}]
)
def test_a_call_without_a_file_is_refused(call: Caller, request_of: dict[str, object]) -> None:
    data = request_of["data"]
    content_type = "multipart/form-data" if isinstance(data, dict) else None

    assert_problem(call("POST", "/v1/files", data=data, content_type=content_type), 422, "validation_error")


def test_a_file_may_be_as_large_as_the_setting_and_no_larger(call: Caller, settings: Settings) -> None:
    full = b"x" * settings.max_file_bytes

    fits = call("POST", "/v1/files", data=full, content_type="text/plain")
    spills = call("POST", "/v1/files", data=full + b"x", content_type="text/plain")
    spills_in_form = call("POST", "/v1/files", data={"file": (BytesIO(full + b"x"), "a")})
    spills_far = call("POST", "/v1/files", data={"file": (BytesIO(full + full), "a")})

    assert fits.status_code == 201
    for answer in (spills, spills_in_form, spills_far):
        assert_problem(answer, 413, "payload_too_large")


@pytest.mark.parametrize("file_id", ["0" * 64, "A" * 64, "x", "%00", "0" * 63, "..%2f.."])
def test_an_unknown_file_is_not_found(call: Caller, file_id: str) -> None:
    answer = call("GET", f"/v1/files/{file_id}")

    assert answer.status_code == 404
    assert answer.json["code"] in {"resource_not_found", "endpoint_not_found"}


def test_a_deleted_file_is_not_found_and_its_bytes_are_free(call: Caller, engineer: Engineer) -> None:
    file_id = call("POST", "/v1/files", data=b"text").json["artifact_id"]

    deleted = call("DELETE", f"/v1/files/{file_id}")
    again = call("DELETE", f"/v1/files/{file_id}")

    assert (deleted.status_code, deleted.json) == (200, {"artifact_id": file_id, "freed_bytes": 4})
    assert_problem(again, 404, "resource_not_found")
    assert call("GET", f"/v1/files/{file_id}").status_code == 404
    assert engineer.ask("SELECT sha256 FROM artifact_chunks WHERE sha256 = %(id)s", id=file_id) == []


def test_a_file_that_an_open_task_needs_is_not_deleted(call: Caller) -> None:
    file_id = call("POST", "/v1/files", data=b"text").json["artifact_id"]
    task_id = call("POST", "/v1/tasks", json={"goal": "read it", "attachments": [file_id]}).json["task_id"]

    refused = call("DELETE", f"/v1/files/{file_id}")
    call("DELETE", f"/v1/tasks/{task_id}")
    deleted = call("DELETE", f"/v1/files/{file_id}")

    problem = assert_problem(refused, 409, "invalid_operation")
    assert problem["details"] == {"task_id": task_id}
    assert deleted.status_code == 200


def test_another_tenant_s_file_is_not_deleted(call: Caller, as_caller: AsCaller) -> None:
    file_id = call("POST", "/v1/files", data=b"text").json["artifact_id"]

    refused = as_caller("umbrella")("DELETE", f"/v1/files/{file_id}")
    unscoped = as_caller(scopes=("task:read",))("DELETE", f"/v1/files/{file_id}")

    assert (refused.status_code, unscoped.status_code) == (404, 403)
    assert call("GET", f"/v1/files/{file_id}").status_code == 200
