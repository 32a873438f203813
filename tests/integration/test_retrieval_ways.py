"""The retriever also searches by trigrams and by vectors if the server can, and warns if it can't."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.devserver import binaries
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.postgres import Postgres
from orchestrator.memory import budget, files, migrate
from orchestrator.memory.claims import Claim
from orchestrator.models.errors import SettingsError
from tests import machine
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.integration.attempt_kit import process_of
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.llm_kit import embedder
from tests.unit.arm_kit import assignment, run
from workers.attempt.context import AttemptContext
from workers.attempt.library import TenantLibrary, abilities_of
from workers.attempt.model import AttemptEmbedder

MANUAL = b"A late delivery is refunded in full.\n\nCall parse_invoice_header first.\n\nIt is what it was.\n"


@pytest.fixture(scope="module")
def machine_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A migrated database on the machine's own Postgres with pg_trgm and, as most have none, without pgvector."""
    try:
        program = binaries.postgres(bundled=False)
    except SettingsError:
        machine.lacks("Postgres of its own")
    reaper = ChildReaper()
    server = Postgres(tmp_path_factory.mktemp("machine"), program, durable=False, reaper=reaper)
    server.start()
    engine = open_engine(server.url)
    try:
        migrate.upgrade(server.url)
        with transaction(engine) as conn:
            conn.exec_driver_sql("DROP EXTENSION IF EXISTS vector CASCADE")
        if not abilities_of(engine).trigrams:
            machine.lacks("Postgres with pg_trgm")
        yield engine
    finally:
        engine.dispose()
        server.stop()
        reaper.close()


def search(engine: Engine, query: str, *, embedder: AttemptEmbedder | None = None, **inputs: Any) -> Any:
    with transaction(engine) as conn:
        files.put(conn, TENANT, filename="manual.md", media_type="text/plain", content=MANUAL)
    library = TenantLibrary(engine, TENANT, lambda: embedder)
    given = assignment(
        "retriever", "search", {"query": query, **inputs}, files={"manual.md": MANUAL}, library=library
    )
    return run(given)


def lines(result: Any) -> list[tuple[int, list[str]]]:
    return [(match["line"], match["found_by"]) for match in result.output["matches"]]


@pytest.mark.parametrize("query", ["refundd delvery", "invoice_heade"])
def test_a_misspelt_word_is_found_where_the_server_has_trigrams(query: str, machine_engine: Engine) -> None:
    result = search(machine_engine, query)

    match = result.output["matches"][0]
    assert match["found_by"] == ["trigrams"]
    assert match["terms"]
    assert MANUAL[match["offset"] :].startswith(match["quote"].encode())
    assert result.output["found"] == len(result.output["matches"])


def test_a_search_leaves_no_setting_in_the_session(machine_engine: Engine) -> None:
    """Behind a pooler the session serves other processes next."""
    with statement(machine_engine) as conn:
        before = conn.exec_driver_sql("SHOW pg_trgm.word_similarity_threshold").scalar_one()

    search(machine_engine, "refundd delvery")

    with statement(machine_engine) as conn:
        assert conn.exec_driver_sql("SHOW pg_trgm.word_similarity_threshold").scalar_one() == before


def test_a_passage_found_both_ways_counts_once_and_comes_first(machine_engine: Engine) -> None:
    result = search(machine_engine, "late delivry")

    assert lines(result) == [(1, ["words", "trigrams"])]
    assert result.output["found"] == 1


def test_a_phrase_or_an_exclusion_is_answered_by_words_only(machine_engine: Engine) -> None:
    assert search(machine_engine, '"delivery late"').output["found"] == 0
    assert lines(search(machine_engine, "delivery -first")) == [(1, ["words"])]


def test_trigrams_are_looked_up_in_their_index(machine_engine: Engine) -> None:
    many = b"".join(b"line %d of many words\n\n" % number for number in range(5_000))
    with transaction(machine_engine) as conn:
        files.put(conn, TENANT, filename="many.txt", media_type="text/plain", content=many)
    library = TenantLibrary(machine_engine, TENANT)
    run(assignment("retriever", "search", {"query": "x"}, files={"many.txt": many}, library=library))

    with machine_engine.connect() as conn:
        conn.exec_driver_sql("VACUUM ANALYZE passages")
        plan = "\n".join(
            conn.exec_driver_sql("EXPLAIN SELECT 1 FROM passages WHERE content %%> 'zebra'").scalars()
        )

    assert "passages_trigrams" in plan, plan


def test_without_trigrams_a_misspelt_word_is_not_found(engine: Engine) -> None:
    assert not abilities_of(engine).trigrams

    assert search(engine, "refundd delvery").output["found"] == 0


class Asker:
    """A claim of a real task, and an embedding model on a fake server."""

    def __init__(self, engineer: Engineer, fake: FakeLLM) -> None:
        self.engineer = engineer
        self.claim: Claim = engineer.take(engineer.start(wait_step("a")), "a")
        self.embedder = AttemptEmbedder(AttemptContext.of(process_of(engineer), self.claim), embedder(fake))


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A model server."""
    with FakeLLM() as server:
        yield server


@pytest.fixture
def asker(engineer: Engineer, fake: FakeLLM) -> Asker:
    """A step that may ask for vectors."""
    return Asker(engineer, fake)


def test_a_passage_without_a_word_of_the_query_is_found_by_meaning(
    engine: Engine, asker: Asker, fake: FakeLLM
) -> None:
    without = search(engine, "what it was")
    result = search(engine, "what it was", embedder=asker.embedder)
    again = search(engine, "what it was", embedder=asker.embedder)

    assert without.output["found"] == 0
    assert lines(result)[0] == (5, ["meaning"])
    assert result.output["matches"][0]["quote"] == "It is what it was."
    assert lines(again) == lines(result)
    asked = [request.body["input"] for request in fake.received]
    assert [len(texts) for texts in asked] == [3, 1, 1]


def test_words_and_meaning_are_joined(engine: Engine, asker: Asker) -> None:
    result = search(engine, "late delivery", embedder=asker.embedder)

    assert lines(result)[0] == (1, ["words", "meaning"])
    assert result.output["matches"][0]["score"] == round(2 / 61, 4)
    assert result.output["found"] == 3


def test_an_embedding_call_is_in_the_trace_and_costs_no_tokens_of_the_task(
    engine: Engine, asker: Asker
) -> None:
    search(engine, "late delivery", embedder=asker.embedder)

    with statement(engine) as conn:
        entries = budget.entries(conn, asker.claim.task_id)
    told = asker.engineer.ask(
        "SELECT payload FROM traces WHERE task_id = %(task)s AND kind = 'model' ORDER BY id",
        task=asker.claim.task_id,
    )
    assert [(entry.reserved_tokens, entry.spent_tokens) for entry in entries] == [(0, 0), (0, 0)]
    assert [item["payload"]["texts"] for item in told] == [3, 1]
    assert told[0]["payload"]["attempts"][0]["model"] == "fake-words"


@pytest.mark.parametrize(
    "fault", [Fault.SERVER_ERROR, Fault.UNAUTHORISED, Fault.BAD_JSON, Fault.RATE_LIMITED]
)
def test_without_vectors_words_still_find_passages_and_a_warning_is_returned(
    fault: Fault, engine: Engine, asker: Asker, fake: FakeLLM
) -> None:
    fake.fail(fault)

    result = search(engine, "late delivery", embedder=asker.embedder)

    assert lines(result) == [(1, ["words"])]
    assert "not compared by meaning" in result.warnings[0]


def test_a_server_without_pgvector_is_named_in_a_warning(machine_engine: Engine, asker: Asker) -> None:
    result = search(machine_engine, "late delivery", embedder=asker.embedder)

    assert result.output["found"] == 1
    assert "no pgvector" in result.warnings[0]


def test_a_secret_in_a_passage_is_not_sent(engine: Engine, asker: Asker, fake: FakeLLM) -> None:
    key = "sk-" + "proj-" + "a1B2c3D4e5F6g7H8" * 4

    asker.embedder.embed([f"the key is {key}"])

    assert fake.received[0].body["input"] == ["the key is [redacted:secret.openai]"]


def test_the_fake_server_s_vectors_are_of_length_one_and_alike_for_alike_texts(asker: Asker) -> None:
    same, alike, other = asker.embedder.embed(["red apples", "Red apples!", "blue sky"])

    assert math.isclose(math.hypot(*same), 1)
    assert same == alike
    assert sum(a * b for a, b in zip(same, other, strict=True)) < 0.5
