-- Names of submissions, by which a repeated submission is recognised.

CREATE TABLE submissions (
    tenant text NOT NULL,
    -- key:<Idempotency-Key>, or request:<X-Request-ID>:<sha256 of the body>
    name text COLLATE "C" NOT NULL,
    -- digest of the body: the same key with another body is a client error
    sha256 text COLLATE "C" NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    -- concurrent duplicates conflict here: one inserts the task, the others wait for its commit and find it
    PRIMARY KEY (tenant, name)
);
CREATE INDEX submissions_expiry ON submissions (expires_at);
CREATE INDEX submissions_by_task ON submissions (task_id);
