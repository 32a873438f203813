"""The exact layer: an equal task gets the earlier result, and no other task does."""

import socket
from dataclasses import replace
from typing import Any

import pytest
import redis

from orchestrator.cache.exact import CacheEntry, ResultCache
from orchestrator.chord.database import statement
from orchestrator.memory import events
from orchestrator.models.errors import NotCached
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.task_contract import CACHE_MODES, Budget, CacheControl, Criterion, Priority
from orchestrator.models.verdict import Decision, Verdict
from tests.integration.cache.kit import (
    COLLECT,
    GOAL,
    RIGHT,
    WAIT,
    Company,
    tampered,
    with_settings,
)
from tests.integration.kit import TENANT, failed

_ENTRIES = "octollm:cache:entry:*"


def test_an_equal_task_is_completed_at_once_by_the_earlier_result(company: Company) -> None:
    source = company.solved()

    second = company.submit()

    task = company.engineer.task(second.task_id)
    assert (second.status, second.cached.outcome, second.cached.layer) == (
        TaskStatus.COMPLETED,
        "hit",
        "exact",
    )
    assert (task.status, task.percentage, task.tokens_used) == ("completed", 100, 0)
    assert task.result == company.engineer.task(source).result
    assert task.cache is not None
    assert (task.cache["layer"], task.cache["source_task_id"]) == ("exact", source)
    assert 0 <= task.cache["age_seconds"] < 60


def test_a_hit_has_its_own_events_and_trace(company: Company) -> None:
    source = company.solved()

    second = company.submit()

    told = company.engineer.events(second.task_id)
    assert [event.type for event in told] == ["task.submitted", "task.cache", "task.completed"]
    assert [event.seq for event in told] == [1, 2, 3]
    with statement(company.process.engine) as conn:
        decisions = events.trace(conn, second.task_id)
    assert [(one.kind, one.payload["outcome"], one.payload["source_task_id"]) for one in decisions] == [
        ("cache", "hit", source)
    ]


def test_a_hit_sends_its_callback(company: Company) -> None:
    company.solved()

    second = company.submit(callback_url=None)
    third = requests_with_callback(company)

    told = company.engineer.ask("SELECT task_id, seq FROM webhooks")
    assert told == [{"task_id": third, "seq": 3}]
    assert company.engineer.task(second.task_id).status == "completed"


def requests_with_callback(company: Company) -> str:
    allowed = with_settings(company, webhook_allowed_hosts=("example.org",))
    return str(allowed.submit(callback_url="https://example.org/told").task_id)


@pytest.mark.parametrize(
    "goal",
    [
        "please list the 3 largest files of build 7!",
        "List the three largest files of build 7.",
        "LIST  the 3 largest files of build 7",
    ],
)
def test_another_form_of_the_same_words_is_the_same_task(company: Company, goal: str) -> None:
    company.solved(GOAL)

    assert company.submit(goal).cached.outcome == "hit"


@pytest.mark.parametrize(
    "other",
    [
        {"goal": "List the 4 largest files of build 7"},
        {"goal": "List the 3 smallest files of build 7"},
        {"tenant": "another"},
        {"scopes": ("task:submit", "task:read")},
        {"constraints": ["only text files"]},
        {"context": {"branch": "main"}},
        {"acceptance_criteria": (Criterion("each file exists"),)},
        {"output_schema": {"type": "object"}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_change_of_any_part_of_the_key_is_a_miss(company: Company, other: dict[str, Any]) -> None:
    company.solved()

    assert company.submit(**other).cached.outcome == "miss"


@pytest.mark.parametrize(
    "other",
    [
        {"priority": Priority.HIGH},
        {"metadata": {"ticket": 7}},
        {"budget": Budget(max_tokens=77)},
        {"constraints": {}},
        {"context": None},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_change_of_anything_else_is_a_hit(company: Company, other: dict[str, Any]) -> None:
    company.solved()

    assert company.submit(**other).cached.outcome == "hit"


def test_constraints_are_compared_as_json_values(company: Company) -> None:
    company.solved(constraints={"limit": 3, "unit": None, "of": {"b": 1, "a": 2.5}})

    assert company.submit(constraints={"of": {"a": 2.5, "b": 1.0}, "limit": 3.0}).cached.outcome == "hit"
    assert company.submit(constraints={"of": {"a": 2.5, "b": True}, "limit": 3}).cached.outcome == "miss"


def test_another_registry_or_another_model_makes_a_miss(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.solved()

    other_model = with_settings(company, openai_api_key="sk-x")
    monkeypatch.setattr("orchestrator.cache.exact.registry_digest", lambda: "0" * 64)
    other_registry = with_settings(company)

    assert other_model.submit().cached.outcome == "miss"
    assert other_registry.submit("List the 3 largest files of build 7").cached.outcome == "miss"


@pytest.mark.parametrize(
    "verdict",
    [
        replace(RIGHT, decision=Decision.INCONCLUSIVE),
        replace(RIGHT, coverage=0.5),
        replace(RIGHT, output_value={"a": "token: ghp_" + "a1B2" * 9}),
        replace(RIGHT, output_value={"a": "x" * 300_000}),
    ],
    ids=["inconclusive", "doubtful", "secret", "too large"],
)
def test_only_a_correct_complete_and_clean_result_is_stored(company: Company, verdict: Verdict) -> None:
    first = company.submit().task_id

    company.run(first, verdict=verdict)

    assert company.engineer.task(first).status == "completed"
    assert company.submit().cached.outcome == "miss"
    assert _entries(company) == []


def test_a_result_valid_for_the_moment_only_is_not_stored(company: Company) -> None:
    first = company.submit().task_id

    company.run(first, WAIT)

    assert company.engineer.task(first).status == "completed"
    assert company.submit().cached.outcome == "miss"


def test_a_result_with_an_unfinished_step_is_not_stored(company: Company) -> None:
    first = company.submit().task_id

    company.run(first, COLLECT, {**COLLECT, "id": "b", "optional": True}, results={"b": failed()})

    assert company.engineer.task(first).status == "completed"
    assert company.submit().cached.outcome == "miss"


def test_a_failure_is_never_stored(company: Company) -> None:
    first = company.submit(budget=Budget(max_repairs=0)).task_id

    company.run(first, verdict=replace(RIGHT, decision=Decision.FAILED))

    assert company.engineer.task(first).status == "failed"
    assert company.submit().cached.outcome == "miss"
    assert _entries(company) == []


def test_a_redacted_task_bypasses_the_cache(company: Company) -> None:
    first = company.submit(redacted={"secret.github": 1}).task_id

    company.run(first)

    assert company.submit(redacted={"secret.github": 1}).cached.outcome == "bypass"
    assert company.submit().cached.outcome == "miss"


def test_a_clients_plan_bypasses_the_cache_unless_cache_is_set(company: Company) -> None:
    plan = {"steps": [COLLECT]}
    company.run(company.submit(plan=plan, cache=CacheControl()).task_id)

    assert company.submit(plan=plan).cached.outcome == "bypass"
    assert company.submit(plan=plan, cache=CacheControl()).cached.outcome == "hit"
    assert company.submit(plan={"steps": [WAIT]}, cache=CacheControl()).cached.outcome == "bypass"


@pytest.mark.parametrize(
    ("mode", "outcome", "keeps"),
    [
        ("default", "hit", True),
        ("bypass", "bypass", False),
        ("refresh", "refresh", True),
        ("no_store", "hit", False),
        ("only_cached", "hit", False),
    ],
)
def test_each_mode_reads_and_stores_as_documented(
    company: Company, mode: str, outcome: str, *, keeps: bool
) -> None:
    control = CACHE_MODES[mode]
    company.solved()
    assert company.submit(cache=control).cached.outcome == outcome

    if mode == "only_cached":
        with pytest.raises(NotCached):
            company.submit("Count the 5 oldest branches", cache=control)
        return
    company.solved("Count the 5 oldest branches", cache=control)
    assert company.submit("Count the 5 oldest branches").cached.outcome == ("hit" if keeps else "miss")


def test_only_cached_inserts_no_task_on_a_miss(company: Company) -> None:
    with pytest.raises(NotCached):
        company.submit(cache=CACHE_MODES["only_cached"])

    assert company.engineer.ask("SELECT count(*) AS tasks FROM tasks") == [{"tasks": 0}]


def test_a_result_older_than_max_age_is_not_served(company: Company) -> None:
    source = company.solved()
    company.engineer.ask(
        "UPDATE tasks SET finished_at = finished_at - interval '100 seconds' WHERE id = %(id)s", id=source
    )

    assert company.submit(cache=CacheControl(max_age_seconds=200)).cached.outcome == "hit"
    assert company.submit(cache=CacheControl(max_age_seconds=50)).cached.outcome == "miss"


def test_an_expired_result_is_not_served_although_redis_has_its_entry(company: Company) -> None:
    source = company.solved()
    company.engineer.ask("UPDATE tasks SET fresh_until = now() WHERE id = %(id)s", id=source)

    assert len(_entries(company)) == 1
    assert company.submit().cached.outcome == "miss"


def test_a_result_is_fresh_for_as_long_as_the_shortest_lived_of_its_actions(company: Company) -> None:
    short = with_settings(company, cache_ttl=60)
    source = short.solved()

    [row] = company.engineer.ask(
        "SELECT extract(epoch FROM fresh_until - finished_at)::float8 AS seconds FROM tasks WHERE id = %(id)s",
        id=source,
    )
    assert row["seconds"] == 60
    assert 50 <= _client(company).ttl(_entries(company)[0]) <= 60


def test_cache_ttl_0_stores_and_reads_nothing(company: Company) -> None:
    company.solved()
    off = with_settings(company, cache_ttl=0)

    assert off.submit().cached.outcome == "bypass"
    assert off.submit(cache=CacheControl()).cached.outcome == "bypass"


def test_a_tampered_entry_is_a_miss(company: Company) -> None:
    company.solved()
    client = _client(company)
    [name] = _entries(company)
    client.set(name, tampered(client.get(name)))

    assert company.submit().cached.outcome == "miss"


def test_an_entry_of_another_key_is_a_miss(company: Company) -> None:
    company.solved()
    company.submit("Count the 5 oldest branches", cache=CACHE_MODES["no_store"])
    client = _client(company)
    [name] = _entries(company)
    parts = company.cache.parts_of(
        _contract("Count the 5 oldest branches"), tenant=TENANT, scopes=frozenset(["task:submit"])
    )
    from orchestrator.cache.exact import key_of

    client.set("octollm:cache:entry:" + key_of(parts), client.get(name))

    assert company.submit("Count the 5 oldest branches").cached.outcome == "miss"


def test_an_entry_signed_with_another_secret_is_a_miss(company: Company) -> None:
    source = company.solved()
    stranger = ResultCache(replace(company.settings, jwt_secret="x" * 48))
    parts = company.cache.parts_of(_contract(GOAL), tenant=TENANT, scopes=frozenset(["task:submit"]))
    stranger.put(CacheEntry(parts, source, "k"), seconds=60)

    assert company.submit().cached.outcome == "miss"


def test_a_validly_signed_entry_cannot_serve_another_tenants_result(company: Company) -> None:
    source = company.solved(tenant="another")
    key = company.engineer.ask("SELECT cache_key FROM tasks WHERE id = %(id)s", id=source)[0]["cache_key"]
    parts = company.cache.parts_of(_contract(GOAL), tenant=TENANT, scopes=frozenset(["task:submit"]))
    company.cache.put(CacheEntry(parts, source, key), seconds=60)

    assert company.submit().cached.outcome == "miss"


def test_without_redis_every_lookup_is_a_miss(company: Company) -> None:
    company.solved()
    alone = with_settings(company, redis_url="redis://127.0.0.1:1/0")

    assert alone.submit().cached.outcome == "miss"


def test_a_redis_that_does_not_answer_is_a_miss(company: Company) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = with_settings(company, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        assert deaf.submit().cached.outcome == "miss"


def test_a_redis_that_refuses_to_write_loses_the_entry_only(company: Company) -> None:
    client = _client(company)
    limit = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", "1")
    try:
        source = company.solved()
    finally:
        client.config_set("maxmemory", limit)

    assert company.engineer.task(source).status == "completed"
    assert _entries(company) == []


def test_the_planner_finds_in_postgres_what_redis_lost(company: Company) -> None:
    source = company.solved()
    _client(company).flushdb()

    second = company.submit()
    ended = company.plan(second.task_id)

    task = company.engineer.task(second.task_id)
    assert second.cached.outcome == "miss"
    assert ended is not None
    assert task.status == "completed"
    assert task.result == company.engineer.task(source).result
    assert task.cache is not None
    assert task.cache["source_task_id"] == source
    assert company.engineer.states(second.task_id) == {"$plan": "done"}


def test_only_cached_finds_what_redis_lost(company: Company) -> None:
    company.solved()
    _client(company).flushdb()

    assert company.submit(cache=CACHE_MODES["only_cached"]).cached.outcome == "hit"


def _contract(goal: str) -> Any:
    from orchestrator.models.task_contract import Contract

    return Contract(goal=goal)


def _client(company: Company) -> "redis.Redis":
    return redis.Redis.from_url(company.settings.redis_url)


def _entries(company: Company) -> list[bytes]:
    return list(_client(company).scan_iter(match=_ENTRIES))
