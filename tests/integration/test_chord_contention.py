"""Rule 1 under contention: 8,000 stores by 32 threads, every part twice."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import create_engine

from orchestrator.chord import chord
from orchestrator.chord.chord import EncodedResult
from orchestrator.chord.database import Database

CHORDS = 20
PARTS = 200
THREADS = 32

_NOTE_TRANSITIONS = """
CREATE TABLE chord_transitions (chord_id text);
CREATE FUNCTION note_transition() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN INSERT INTO chord_transitions VALUES (NEW.id); RETURN NULL; END';
CREATE TRIGGER note_transition AFTER UPDATE ON chords FOR EACH ROW
WHEN (OLD.state = 'open' AND NEW.state = 'ready') EXECUTE FUNCTION note_transition();
"""
_FORGET_TRANSITIONS = "DROP TABLE chord_transitions; DROP FUNCTION note_transition() CASCADE"


def test_every_chord_is_ready_exactly_once_when_each_part_is_delivered_twice(postgres_url: str) -> None:
    database = Database(postgres_url, options={"pool_size": THREADS})
    names = [f"chord-{number}" for number in range(CHORDS)]
    deliveries = [(name, f"{name}-{part}") for name in names for part in range(PARTS)] * 2
    random.Random(8000).shuffle(deliveries)
    outcome = EncodedResult("SUCCESS", b"1")
    with database.transaction() as conn:
        conn.exec_driver_sql(_NOTE_TRANSITIONS)
        for name in names:
            chord.open(conn, name, body=b"null", size=PARTS)

    def deliver(delivery: tuple[str, str]) -> bool:
        name, task_id = delivery
        count = database.run(
            lambda conn: chord.count_part(conn, name, chord.FinishedPart(task_id, idx=0), outcome=outcome)
        )
        return count.ready is not None

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            told = list(pool.map(deliver, deliveries))

        with create_engine(database.engine.url).connect() as conn:
            noted = Counter(conn.exec_driver_sql("SELECT chord_id FROM chord_transitions").scalars())
            done = conn.exec_driver_sql("SELECT state, done FROM chords").all()
            stored = conn.exec_driver_sql("SELECT count(*) FROM results").scalar_one()
            parts = Counter(conn.exec_driver_sql("SELECT chord_id FROM chord_parts").scalars())
    finally:
        with database.transaction() as conn:
            conn.exec_driver_sql(_FORGET_TRANSITIONS)
        database.dispose()

    assert noted == dict.fromkeys(names, 1)
    assert {tuple(row) for row in done} == {("ready", PARTS)}
    assert parts == dict.fromkeys(names, PARTS)
    assert stored == CHORDS * PARTS
    assert sum(told) >= CHORDS
