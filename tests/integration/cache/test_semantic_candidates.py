"""Candidates of the alias layer: what the word index and the embeddings find, and what they must not find."""

from dataclasses import replace
from typing import Any

import redis
from sqlalchemy import Engine

from orchestrator.cache.semantic import MAX_POSTING
from orchestrator.cache.signed_store import PREFIX
from orchestrator.chord.database import statement
from orchestrator.memory import budget
from orchestrator.settings import Settings
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.integration.cache.kit import GOAL, OTHERWISE, SAME, Company, aliased, told
from tests.llm_kit import embedder

IN_NO_COMMON_WORD = "Display 3 biggest artefacts from compilation 7"
DIFFERENT = {"same": False, "reason": "one wants more"}


def test_a_goal_with_another_signature_or_no_shared_word_is_no_candidate(
    office: Company, fake: FakeLLM
) -> None:
    office.solved(GOAL)
    for other in (
        "Show the 4 largest files in build 7",
        "Show the 3 largest files in 'build 7'",
        "Cook 3 for 7",
    ):
        second = office.submit(other).task_id

        assert office.plan(second) is None

        assert (fake.received, told(office, second)) == ([], [])


def test_only_tasks_of_one_family_are_candidates(office: Company, fake: FakeLLM) -> None:
    office.solved(GOAL)
    others: list[dict[str, Any]] = [
        {"tenant": "another"},
        {"scopes": ("task:submit", "task:read")},
        {"constraints": ["only text files"]},
    ]
    for other in others:
        assert office.plan(office.submit(OTHERWISE, **other).task_id) is None

    assert fake.received == []


def test_another_tenants_task_forged_into_the_index_is_no_candidate(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    foreign = office.solved(GOAL, tenant="another")
    office.solved(OTHERWISE)
    for posting in client.keys(f"{PREFIX}word:*"):
        client.zadd(posting, {foreign: 2e9, "task_'; DROP TABLE": 2e9, b"\xff\x00": 2e9})
    fake.answer(DIFFERENT)
    second = office.submit("Display the 3 largest files in build 7").task_id

    assert office.plan(second) is None

    assert len(fake.received) == 1
    assert foreign not in [one["task_id"] for one in told(office, second)]


def test_without_a_model_the_guard_alone_approves_nothing(
    engine: Engine, our_settings: Settings, client: "redis.Redis"
) -> None:
    office = Company(engine, our_settings)
    office.solved(GOAL)
    second = office.submit(OTHERWISE).task_id

    assert office.plan(second) is None

    assert client.keys(f"{PREFIX}word:*") == []


def test_an_embedding_model_finds_candidates_that_share_no_word(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    office.embedder = embedder(fake)
    source = office.solved(GOAL)
    [place] = client.keys(f"{PREFIX}meaning:*")
    fake.answer(SAME, match="Are they the same?")
    second = office.submit(IN_NO_COMMON_WORD).task_id

    office.plan(second)

    assert (office.engineer.task(second).cache or {})["source_task_id"] == source
    assert [one["task_id"] for one in told(office, second)] == [source]
    assert 0 < client.ttl(place) <= office.settings.cache_ttl
    with statement(office.process.engine) as conn:
        first_call, *_ = budget.entries(conn, second)
    assert first_call.spent_tokens == 0


def test_candidates_found_by_embedding_pass_the_guard_too(office: Company, fake: FakeLLM) -> None:
    office.embedder = embedder(fake)
    office.solved("Increase volume by 5")
    second = office.submit("Decrease loudness by 5").task_id

    assert office.plan(second) is None

    assert [one["refused"] for one in told(office, second)] == ["opposite"]
    assert {request.path for request in fake.received} == {"/v1/embeddings"}


def test_a_failing_embedding_model_only_loses_its_candidates(office: Company, fake: FakeLLM) -> None:
    office.embedder = embedder(fake)
    fake.fail(*[Fault.INSUFFICIENT_QUOTA] * 2)
    office.solved(GOAL)
    second = office.submit(IN_NO_COMMON_WORD).task_id

    assert office.plan(second) is None

    assert told(office, second) == []


def test_without_redis_tasks_are_planned(engine: Engine, our_settings: Settings, fake: FakeLLM) -> None:
    office = Company(engine, replace(our_settings, redis_url="redis://127.0.0.1:1/0"), fake)
    office.solved(GOAL)
    second = office.submit(OTHERWISE).task_id

    assert office.plan(second) is None

    assert fake.received == []


def test_redis_contains_no_text_of_a_goal(office: Company, fake: FakeLLM, client: "redis.Redis") -> None:
    office.embedder = embedder(fake)
    office.solved(GOAL)
    aliased(office, fake)

    names = client.keys(f"{PREFIX}*")
    lists = [name for name in names if client.type(name) == b"zset"]
    values = [
        *client.mget(set(names) - set(lists)),
        *(one for name in lists for one in client.zrange(name, 0, -1)),
    ]
    held = b" ".join([*names, *values])

    assert {name.split(b":")[2] for name in names} == {b"entry", b"pair", b"word", b"meaning"}
    assert [word for word in (b"largest", b"build", SAME["reason"].encode()) if word in held] == []


def test_the_index_is_bounded_and_every_key_expires(
    office: Company, fake: FakeLLM, client: "redis.Redis"
) -> None:
    source = office.solved(GOAL)
    aliased(office, fake)
    key = office.engineer.ask("SELECT cache_key FROM tasks WHERE id = %(id)s", id=source)[0]["cache_key"]

    for number in range(MAX_POSTING + 5):
        office.process.similar_tasks.add(key, "List the 3 files of build 7", f"task_{number:016}", seconds=60)

    names = client.keys(f"{PREFIX}*")
    assert {name.split(b":")[2] for name in names} == {b"entry", b"pair", b"word"}
    assert all(0 < client.ttl(name) <= office.settings.cache_ttl for name in names)
    assert max(client.zcard(name) for name in names if b":word:" in name) == MAX_POSTING
