"""The core of the Python client, which does no input or output: retries, tokens, streams, files."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octollm_client import (
    ApiError,
    Client,
    ConnectionFailed,
    DownloadDamaged,
    RetryPolicy,
    TooMany,
    _files,
    _flows,
)
from octollm_client._call import Call, Close, Emit, Ended, Pause, Read, Reply, Send, advance, path_of
from octollm_client._event_stream import EventReader
from octollm_client._session import Session
from octollm_client.problems import QueueFull, class_of

TASK = "task_0123456789abcdef"
LOST = ConnectionFailed("gone", was_sent=True)
REFUSED = ConnectionFailed("refused", was_sent=False)
Answers = Iterable[Reply | ConnectionFailed | bytes]


def session(**options: Any) -> Session:
    """Return a session with a token."""
    given_ = {"api_key": None, "token": "t", "retry": RetryPolicy(), "timeout": 5.0, **options}
    return Session("http://server", **given_)


def reply(document: Any = None, *, status: int = 200, **headers: str) -> Reply:
    """Return a response with a JSON document."""
    return Reply(
        status,
        {name.replace("_", "-"): text for name, text in headers.items()},
        json.dumps(document).encode(),
    )


def problem(code: str, *, status: int, retryable: bool = False, **headers: str) -> Reply:
    """Return a problem of the API."""
    document = {"code": code, "message": "no", "retryable": retryable, "request_id": "req_1"}
    return reply(document, status=status, **headers)


class Played:
    """A flow, played with given outcomes of its commands that send and read."""

    def __init__(self, flow: Any, outcomes: Answers) -> None:
        self.sent: list[Send] = []
        self.pauses: list[float] = []
        self.emitted: list[Any] = []
        self.result: Any = None
        left = iter(outcomes)
        command = advance(flow, None)
        while not isinstance(command, Ended):
            outcome: Any = None
            match command:
                case Send():
                    self.sent.append(command)
                    outcome = next(left)
                case Read():
                    outcome = next(left)
                case Pause(seconds):
                    self.pauses.append(seconds)
                case Emit(item):
                    self.emitted.append(item)
                case Close():
                    pass
            command = advance(flow, outcome)
        self.result = command.value
        assert next(left, None) is None, "not all outcomes were used"


GET = Call("GET", "/v1/x", is_idempotent=True)
POST = Call("POST", "/v1/x", body={"a": 1}, is_idempotent=True)
ONCE = Call("POST", "/v1/x", body={"a": 1})


@pytest.mark.parametrize(
    "failure", [REFUSED, LOST, reply({}, status=502), problem("x", status=503, retryable=True)]
)
def test_what_may_be_repeated_is_repeated_with_the_same_key(failure: Reply | ConnectionFailed) -> None:
    played = Played(session().call(POST), [failure, failure, reply({"ok": True})])

    keys = {sent.headers["Idempotency-Key"] for sent in played.sent}
    assert played.result == {"ok": True}
    assert len(played.sent) == 3
    assert len(keys) == 1
    assert len(played.pauses) == 2


@pytest.mark.parametrize("failure", [LOST, reply({}, status=502), reply("<html>", status=503)])
def test_a_post_that_may_have_had_its_effect_is_not_repeated(failure: Reply | ConnectionFailed) -> None:
    with pytest.raises((ConnectionFailed, ApiError)):
        Played(session().call(ONCE), [failure])


@pytest.mark.parametrize(
    "failure", [REFUSED, problem("queue_full", status=503, retryable=True), reply({}, status=429)]
)
def test_a_post_that_did_nothing_is_repeated(failure: Reply | ConnectionFailed) -> None:
    assert Played(session().call(ONCE), [failure, reply(1)]).result == 1


def test_two_posts_have_two_keys_and_a_given_key_is_kept() -> None:
    first, second, own = (
        Played(session().call(call), [reply(1)]).sent[0].headers["Idempotency-Key"]
        for call in (POST, POST, POST._replace(idempotency_key="mine"))
    )

    assert first != second
    assert own == "mine"


def test_retry_after_is_obeyed_in_seconds_and_as_a_date() -> None:
    busy = problem("rate_limit_exceeded", status=429, retryable=True, retry_after="7")
    past = problem(
        "rate_limit_exceeded", status=429, retryable=True, retry_after="Sun, 06 Nov 1994 08:49:37 GMT"
    )

    played = Played(session().call(GET), [busy, past, reply(1)])

    assert played.pauses[0] == 7
    assert played.pauses[1] < 2


def test_a_pause_beyond_the_limit_is_not_waited_for() -> None:
    busy = problem("rate_limit_exceeded", status=429, retryable=True, retry_after="91")

    with pytest.raises(TooMany) as caught:
        Played(session().call(GET), [busy])

    assert caught.value.retry_after == 91


def test_retries_are_bounded_and_pauses_grow_to_a_limit() -> None:
    policy = RetryPolicy(max_retries=8, max_seconds=1000)
    outcomes: list[ConnectionFailed] = [REFUSED] * 9

    with pytest.raises(ConnectionFailed):
        Played(session(retry=policy).call(GET), outcomes)

    assert all(0.25 <= policy.backoff(0) <= 0.5 for _ in range(50))
    assert all(4 <= policy.backoff(number) <= 8 for number in (4, 5, 60, 10**6))


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500])
def test_what_a_retry_can_not_help_is_raised_at_once(status: int) -> None:
    with pytest.raises(ApiError) as caught:
        Played(session().call(GET), [problem("new_code", status=status)])

    assert caught.value.code == "new_code"
    assert type(caught.value) is class_of(None, status)


def test_a_known_code_has_its_class_and_tells_the_request() -> None:
    with pytest.raises(QueueFull, match=r"no \(queue_full, request req_1\)"):
        Played(
            session(retry=RetryPolicy(max_retries=0)).call(GET),
            [problem("queue_full", status=503, retryable=True)],
        )


def test_a_server_that_is_none_of_ours_is_named() -> None:
    with pytest.raises(ConnectionFailed, match="is it an OctoLLM server"):
        Played(session().call(GET), [Reply(200, {}, b"<html>")])


def test_a_key_is_exchanged_and_renewed_when_the_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("octollm_client._session.time.monotonic", lambda: clock)
    ours = session(api_key="octo_key", token=None)
    granted = [reply({"access_token": f"t{number}", "expires_in": 600}) for number in range(3)]

    first = Played(ours.call(GET), [granted[0], reply(1)])
    clock += 569
    second = Played(ours.call(GET), [reply(1)])
    clock += 2
    third = Played(ours.call(GET), [granted[1], reply(1)])
    fourth = Played(ours.call(GET), [problem("invalid_credential", status=401), granted[2], reply(1)])

    assert first.sent[0].headers["X-API-Key"] == "octo_key"
    assert [_bearer(sent) for sent in first.sent] == [None, "Bearer t0"]
    assert [_bearer(sent) for sent in second.sent] == ["Bearer t0"]
    assert [_bearer(sent) for sent in third.sent] == [None, "Bearer t1"]
    assert [_bearer(sent) for sent in fourth.sent] == ["Bearer t1", None, "Bearer t2"]


def test_a_key_that_is_refused_is_exchanged_no_second_time() -> None:
    refused = problem("invalid_credential", status=401)

    with pytest.raises(ApiError):
        Played(session(api_key="octo_key", token=None).call(GET), [refused])
    with pytest.raises(ApiError):
        Played(session().call(GET), [refused])


def _bearer(sent: Send) -> str | None:
    return sent.headers.get("Authorization")


def _stream(*numbers: int, last: str = "step.queued") -> bytes:
    """Return the bytes of a stream with these events; the last one has the type `last`."""
    text = "retry: 1000\n\n"
    for number in numbers:
        event = {"seq": number, "type": last if number == numbers[-1] else "step.queued", "data": {}}
        text += f"id: {number}\ndata: {json.dumps(event)}\n\n"
    return text.encode()


OPEN = Reply(200, {}, b"")


def _follow(outcomes: Answers, *, after: int = 0) -> Played:
    return Played(_flows.events(session(), TASK, after=after, progress=False), outcomes)


def test_a_stream_that_is_cut_goes_on_after_the_last_whole_event() -> None:
    half = _stream(3)[:-4]

    played = _follow(
        [OPEN, _stream(1, 2) + half, LOST, OPEN, _stream(2, 3), b"", OPEN, _stream(4, last="task.failed")]
    )

    assert [event["seq"] for event in played.emitted] == [1, 2, 3, 4]
    assert [sent.url.partition("?")[2] for sent in played.sent] == ["after=0", "after=2", "after=3"]


def test_a_server_that_has_nothing_more_ends_the_stream() -> None:
    assert _follow([Reply(204, {}, b"")], after=9).emitted == []


def test_transient_events_are_given_and_do_not_move_the_cursor() -> None:
    transient = b'data: {"type": "step.progress", "data": {"text": "x"}}\n\n'

    played = _follow([OPEN, _stream(1), transient, LOST, OPEN, _stream(2, last="task.completed")])

    assert [event.get("seq") for event in played.emitted] == [1, None, 2]
    assert played.sent[1].url.endswith("after=1")


def test_a_server_that_always_cuts_ends_the_loop() -> None:
    outcomes: list[Reply | ConnectionFailed | bytes] = [OPEN, LOST] * 7

    with pytest.raises(ConnectionFailed):
        _follow(outcomes)


@given(st.data())
def test_events_do_not_depend_on_how_the_bytes_are_cut(data: st.DataObject) -> None:
    text = _stream(*range(1, 6)).replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n"])))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    reader = EventReader()

    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert [event["seq"] for piece in pieces for event in reader.feed(piece)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "text", [b"data: nonsense\n\n", b"data: 1\n\n", b"data: {}\n\n", b"data:" + b"x" * 17_000_000]
)
def test_what_is_no_event_is_an_error_and_not_kept(text: bytes) -> None:
    with pytest.raises(ConnectionFailed):
        list(EventReader().feed(text))


def test_a_download_begins_again_and_is_checked() -> None:
    known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    target = io.BytesIO()

    Played(_flows.download(session(), known, target), [OPEN, b"wor", LOST, OPEN, b"he", b"llo", b""])

    assert target.getvalue() == b"hello"
    with pytest.raises(DownloadDamaged):
        Played(_flows.download(session(), known, target), [OPEN, b"hellO", b""])


def test_pages_follow_their_cursor() -> None:
    pages = [
        reply({"tasks": [1, 2], "next_cursor": "c"}),
        reply({"tasks": [], "next_cursor": "d"}),
        reply({"tasks": [3], "next_cursor": None}),
    ]

    played = Played(_flows.pages(session(), GET, "tasks"), pages)

    assert played.emitted == [1, 2, 3]
    assert [sent.url.partition("?")[2] for sent in played.sent] == ["", "cursor=c", "cursor=d"]


def test_a_file_that_can_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail() -> None:
        with _files.replacing(path) as target:
            target.file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../../x.txt", "/etc/x.txt", "..\\x.txt", ".x.txt", "..", "", "a\0b"])
def test_a_server_s_name_stays_in_the_folder(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        with _files.new_file(tmp_path / "out", name) as target:
            target.file.write(b"1")

    written = sorted(path.relative_to(tmp_path).parts for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == 2
    assert all(parts[0] == "out" and len(parts) == 2 and not parts[1].startswith(".") for parts in written)


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_a_path_names_something(bad: str) -> None:
    assert path_of("/v1/tasks/{task_id}", task_id="a/b?c") == "/v1/tasks/a%2Fb%3Fc"
    with pytest.raises(ValueError, match="task_id"):
        path_of("/v1/tasks/{task_id}", task_id=bad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Client("ftp://x"),
        lambda: Client("localhost:8000"),
        lambda: Client("http://x", api_key="a", token="b"),
    ],
)
def test_options_that_can_not_work_are_refused(make: Callable[[], Client]) -> None:
    with pytest.raises(ValueError):
        make()


def test_the_credential_is_not_shown() -> None:
    assert "secret" not in repr(Client("http://server/v1", api_key="octo_secret"))


def test_the_environment_names_server_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOLLM_URL", "https://octollm.example/v1/")
    monkeypatch.setenv("OCTOLLM_API_KEY", "octo_key")

    assert repr(Client()) == "Client('https://octollm.example')"


def test_importing_it_imports_little() -> None:
    """Whoever only imports the client pays for neither httpx2 nor asyncio; the names below cost 10 ms and more each."""
    program = (
        "import sys; before = set(sys.modules); import octollm_client; print(*(set(sys.modules) - before))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(_flows.__file__).parents[1])},
    )

    loaded = set(done.stdout.split())
    heavy = {
        "asyncio",
        "dataclasses",
        "email",
        "hashlib",
        "http",
        "httpx2",
        "inspect",
        "logging",
        "mimetypes",
    }
    heavy |= {"socket", "ssl", "tempfile", "uuid"}
    assert not loaded & heavy
    assert "octollm_client.types" not in loaded
