-- The chord engine's four tables. In a foreign application the backend creates them itself, under an advisory lock;
-- in ours the first migration runs this file. Idempotent. It must not contain a per cent sign: the driver would read
-- it as a parameter.

-- One row for each task that stored something; AsyncResult reads it.
CREATE TABLE IF NOT EXISTS results (
    task_id text PRIMARY KEY,
    status text NOT NULL,
    -- encoded by Celery's result_serializer, like every bytea here
    value bytea,
    traceback text,
    -- children, group, parent and, with result_extended, name, arguments, worker ...; NULL if there are none
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

-- One row for each chord: how many parts it waits for, how many are counted, and the body that runs after them. Every
-- part updates its chord's row, so no indexed column changes before the chord is ready (heap-only updates).
CREATE TABLE IF NOT EXISTS chords (
    id text PRIMARY KEY,
    -- the body's signature; NULL only after a part was counted and before its body arrives (for a group that Celery
    -- made part of a chord without announcing it)
    body bytea,
    -- the header's GroupResult if it is nested: the body's argument gets its shape
    header bytea,
    -- NULL while a lazy header is still being published
    size integer CHECK (size >= 0),
    added integer NOT NULL DEFAULT 0 CHECK (added >= 0),
    done integer NOT NULL DEFAULT 0 CHECK (done >= 0),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'ready', 'fired', 'closed')),
    -- when it became ready, or when publishing its body was last tried
    ready_at timestamptz,
    opened_at timestamptz NOT NULL DEFAULT now(),
    -- prevents a chord that hangs because it is complete but still open
    CONSTRAINT chords_open_waits CHECK (state <> 'open' OR size IS NULL OR done < size + added),
    -- prevents a body that starts early, with parts missing
    CONSTRAINT chords_ready_is_complete CHECK (
        state IN ('open', 'closed') OR (size IS NOT NULL AND done >= size + added AND ready_at IS NOT NULL)
    )
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS chords_ready ON chords (ready_at, id) WHERE state = 'ready';
CREATE INDEX IF NOT EXISTS chords_opened_at ON chords (opened_at);

-- One row for each part, so that a message delivered twice counts once. No foreign key: it would lock the chord's row
-- once more for every part. Parts are deleted together with their chord.
CREATE TABLE IF NOT EXISTS chord_parts (
    chord_id text NOT NULL,
    task_id text NOT NULL,
    -- the place in the header; -1 for a member that joined later or whose place does not matter
    idx integer NOT NULL,
    -- NULL while joined but not counted; true if its error becomes the chord's error
    failed boolean,
    value bytea,
    counted_at timestamptz,
    PRIMARY KEY (chord_id, task_id, idx),
    -- prevents a counted part without a time, and a value without a count
    CONSTRAINT chord_parts_counted CHECK (
        (failed IS NULL) = (counted_at IS NULL) AND (value IS NULL OR failed IS NOT NULL)
    )
);
