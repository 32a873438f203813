-- The core tables: tasks, rounds, steps, ledger, events, traces, artifacts, keys and pools. COLLATE "C" compares text
-- ids bytewise, so that they sort by time under every locale.

CREATE TABLE tasks (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^task_[0-9A-Za-z]{16}$'),
    tenant text NOT NULL,
    key_id text,
    request_id text,
    priority text NOT NULL CHECK (priority IN ('low', 'medium', 'high', 'critical')),
    contract jsonb NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    phase text NOT NULL DEFAULT 'accepted'
        CHECK (phase IN ('accepted', 'planning', 'executing', 'judging', 'repairing', 'finishing', 'done')),
    -- the number of the current round; 0 until a plan is saved
    round integer NOT NULL DEFAULT 0 CHECK (round >= 0),
    plan_id text,
    percentage smallint NOT NULL DEFAULT 0 CHECK (percentage BETWEEN 0 AND 100),
    -- the number of the task's last event; changed only under this row's lock
    event_seq integer NOT NULL DEFAULT 0,
    result jsonb,
    error jsonb,
    tokens_used bigint NOT NULL DEFAULT 0,
    cost_dollars numeric(14, 8) DEFAULT 0,
    cache_key text,
    leader_id text COLLATE "C" REFERENCES tasks (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deadline_at timestamptz NOT NULL,
    finished_at timestamptz,
    -- an ended task has an end time, an open one has none
    CONSTRAINT tasks_final_has_end CHECK ((status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT tasks_final_is_done CHECK ((status IN ('completed', 'failed', 'cancelled')) = (phase = 'done')),
    CONSTRAINT tasks_failed_says_why CHECK (status <> 'failed' OR error IS NOT NULL)
);
CREATE INDEX tasks_by_tenant ON tasks (tenant, id DESC);
CREATE INDEX tasks_by_tenant_status ON tasks (tenant, status, id DESC);
CREATE INDEX tasks_deadline ON tasks (deadline_at) WHERE finished_at IS NULL;
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_leader ON tasks (leader_id) WHERE leader_id IS NOT NULL;

CREATE TABLE rounds (
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 1),
    plan_id text NOT NULL,
    -- the round's chord: every round has one, and no two rounds share one
    chord_id text COLLATE "C" NOT NULL UNIQUE,
    plan jsonb NOT NULL,
    verdict jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    concluded_at timestamptz,
    PRIMARY KEY (task_id, number),
    CONSTRAINT rounds_verdict_has_time CHECK (verdict IS NULL OR concluded_at IS NOT NULL)
);

CREATE TABLE steps (
    -- uuid5 of task, round and name, so a step can't be inserted twice; also its Celery task id
    id text COLLATE "C" PRIMARY KEY,
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    round integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('plan', 'step', 'judge')),
    name text NOT NULL,
    arm text NOT NULL,
    queue text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    -- the chord it is a part of; null for a plan row and for the judge, which is the chord's body
    chord_id text COLLATE "C",
    -- the plan's step (orchestrator.models.plan.PlanStep) as JSON
    spec jsonb NOT NULL DEFAULT '{}',
    -- {name of an earlier step: id of the row whose output it uses}
    bindings jsonb NOT NULL DEFAULT '{}',
    -- how many of its dependencies in the round are not done, and which steps depend on it
    waiting integer NOT NULL DEFAULT 0 CHECK (waiting >= 0),
    unblocks text[] NOT NULL DEFAULT '{}',
    -- number of steps on the longest path from here; the longest paths are released first
    path_length integer NOT NULL DEFAULT 1,
    state text NOT NULL
        CHECK (state IN ('blocked', 'held', 'queued', 'running', 'done', 'failed', 'skipped', 'cancelled')),
    -- the fencing number of the last claim
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    kills integer NOT NULL DEFAULT 0,
    sends integer NOT NULL DEFAULT 0,
    owner text,
    -- queued: the earliest time of a claim
    not_before timestamptz NOT NULL DEFAULT now(),
    -- queued: when to publish it (again); running: when the lease expires
    due timestamptz,
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    queued_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (task_id, round, name),
    CONSTRAINT steps_due_while_open CHECK ((state IN ('queued', 'running')) = (due IS NOT NULL)),
    CONSTRAINT steps_running_has_owner CHECK (state <> 'running' OR (owner IS NOT NULL AND attempt > 0)),
    CONSTRAINT steps_final_has_end CHECK ((state IN ('done', 'failed', 'skipped', 'cancelled')) = (finished_at IS NOT NULL)),
    -- prevents a step that is queued before its dependencies are done
    CONSTRAINT steps_waiting_is_blocked CHECK (waiting = 0 OR state IN ('blocked', 'skipped', 'cancelled')),
    CONSTRAINT steps_step_has_chord CHECK ((kind = 'step') = (chord_id IS NOT NULL)),
    CONSTRAINT steps_end_has_result CHECK (state NOT IN ('done', 'failed') OR result IS NOT NULL)
);
-- prevents two judges in a round
CREATE UNIQUE INDEX steps_one_judge ON steps (task_id, round) WHERE kind = 'judge';
CREATE INDEX steps_queued_due ON steps (due) WHERE state = 'queued';
CREATE INDEX steps_running_due ON steps (due) WHERE state = 'running';
CREATE INDEX steps_open ON steps (task_id, round) WHERE state IN ('blocked', 'held', 'queued', 'running');
CREATE INDEX steps_by_arm ON steps (arm, finished_at) WHERE state IN ('done', 'failed');

-- The budget ledger: what a step's attempt may spend on one model call, reserved before it and settled after it.
CREATE TABLE ledger (
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    step_id text COLLATE "C" NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    attempt integer NOT NULL,
    call integer NOT NULL,
    reserved_tokens bigint NOT NULL CHECK (reserved_tokens >= 0),
    reserved_cost numeric(14, 8) CHECK (reserved_cost >= 0),
    spent_tokens bigint CHECK (spent_tokens >= 0),
    spent_cost numeric(14, 8) CHECK (spent_cost >= 0),
    reserved_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    PRIMARY KEY (step_id, attempt, call)
);
CREATE INDEX ledger_by_task ON ledger (task_id);

-- A task's events, numbered without gaps; streams are replayed from them.
CREATE TABLE events (
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    seq integer NOT NULL CHECK (seq >= 1),
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    type text NOT NULL,
    payload jsonb NOT NULL,
    PRIMARY KEY (task_id, seq)
);

-- A task's trace: every decision that led to its result.
CREATE TABLE traces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    round integer NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    payload jsonb NOT NULL
);
CREATE INDEX traces_by_task ON traces (task_id, id);

CREATE TABLE artifacts (
    tenant text NOT NULL,
    sha256 text COLLATE "C" NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    filename text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, sha256)
);
CREATE TABLE artifact_chunks (
    tenant text NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    number integer NOT NULL CHECK (number >= 0),
    content bytea NOT NULL,
    PRIMARY KEY (tenant, sha256, number),
    FOREIGN KEY (tenant, sha256) REFERENCES artifacts (tenant, sha256) ON DELETE CASCADE
);

CREATE TABLE api_keys (
    id text COLLATE "C" PRIMARY KEY,
    tenant text NOT NULL,
    name text NOT NULL DEFAULT '',
    environment text NOT NULL,
    -- only the digest; the secret is shown once, when the key is created
    secret_sha256 text NOT NULL CHECK (secret_sha256 ~ '^[0-9a-f]{64}$'),
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);

-- Live worker pools: one row for each worker process, updated by its heartbeat.
CREATE TABLE pools (
    node text COLLATE "C" PRIMARY KEY,
    queue text NOT NULL,
    arm text NOT NULL,
    concurrency integer NOT NULL,
    busy integer NOT NULL DEFAULT 0,
    isolation text NOT NULL DEFAULT 'none',
    version text NOT NULL,
    registry_digest text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX pools_by_arm ON pools (arm, seen_at);

-- What clients declared about an arm (POST /v1/arms/register).
CREATE TABLE arm_declarations (
    arm text COLLATE "C" PRIMARY KEY,
    status text NOT NULL CHECK (status IN ('healthy', 'degraded', 'unavailable')),
    metadata jsonb NOT NULL DEFAULT '{}',
    declared_by text NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now()
);
