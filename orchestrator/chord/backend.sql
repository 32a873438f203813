-- The chord engine's four tables. The backend makes them itself (under an advisory lock) in a foreign
-- application; in ours the first migration runs this very file. Idempotent. No per cent sign in here: the
-- driver would take it for a parameter.

-- One row a task that stored something: what AsyncResult reads.
CREATE TABLE IF NOT EXISTS results (
    task_id text PRIMARY KEY,
    status text NOT NULL,
    -- encoded by Celery's result_serializer, like every bytea here
    value bytea,
    traceback text,
    -- children, group, parent and, with result_extended, name, arguments, worker ...; NULL when there is nothing
    meta bytea,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS results_stored_at ON results (stored_at);

-- Saved GroupResults.
CREATE TABLE IF NOT EXISTS groups (
    group_id text PRIMARY KEY,
    value bytea NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now()
);

-- One row a chord: how many parts it waits for, how many came, and the body that runs then. Every part
-- updates its chord's row, so no indexed column changes before the chord is ready (heap-only updates).
CREATE TABLE IF NOT EXISTS chords (
    id text PRIMARY KEY,
    -- the body's signature; NULL only between a part and its body's arrival (a group that Celery made part of a
    -- chord without announcing it)
    body bytea,
    -- the header's GroupResult when it is nested: the body gets its shape
    header bytea,
    -- NULL while a lazy header is still being published
    size integer CHECK (size >= 0),
    added integer NOT NULL DEFAULT 0 CHECK (added >= 0),
    done integer NOT NULL DEFAULT 0 CHECK (done >= 0),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'ready', 'fired', 'closed')),
    -- since when it is ready, or when its body's publication was last tried
    ready_at timestamptz,
    opened_at timestamptz NOT NULL DEFAULT now(),
    -- prevents a chord that hangs: complete, but still open
    CONSTRAINT chords_open_waits CHECK (state <> 'open' OR size IS NULL OR done < size + added),
    -- prevents a body that starts early: ready or fired with parts missing
    CONSTRAINT chords_ready_is_complete CHECK (
        state IN ('open', 'closed') OR (size IS NOT NULL AND done >= size + added AND ready_at IS NOT NULL)
    )
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS chords_ready ON chords (ready_at, id) WHERE state = 'ready';
CREATE INDEX IF NOT EXISTS chords_opened_at ON chords (opened_at);

-- One row a part: a message that is delivered twice counts once. No foreign key: it would lock the chord's row
-- once more for every part; parts are deleted together with their chord.
CREATE TABLE IF NOT EXISTS chord_parts (
    chord_id text NOT NULL,
    task_id text NOT NULL,
    -- the place in the header; -1: a member that joined later, or whose place does not matter
    idx integer NOT NULL,
    -- NULL: joined, not counted yet; true: its error becomes the chord's error
    failed boolean,
    value bytea,
    counted_at timestamptz,
    PRIMARY KEY (chord_id, task_id, idx),
    -- prevents a counted part without its time and a value without a count
    CONSTRAINT chord_parts_counted CHECK (
        (failed IS NULL) = (counted_at IS NULL) AND (value IS NULL OR failed IS NOT NULL)
    )
);
