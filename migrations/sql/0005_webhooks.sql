-- Webhook deliveries: the end of a task, sent to the URL in its contract.

CREATE TABLE webhooks (
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    -- the event's number; a receiver recognises duplicates by task_id and seq
    seq integer NOT NULL CHECK (seq >= 1),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    -- when to send it (again); while a worker has it, when it counts as lost
    due timestamptz DEFAULT now(),
    -- fencing number of the last message; only that attempt may record an outcome
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    -- why the last attempt failed: our own code, and the receiver's HTTP status if there was one
    reason text,
    http_status integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (task_id, seq),
    CONSTRAINT webhooks_pending_is_due CHECK ((state = 'pending') = (due IS NOT NULL)),
    CONSTRAINT webhooks_final_has_end CHECK ((state = 'pending') = (finished_at IS NULL))
);
CREATE INDEX webhooks_due ON webhooks (due) WHERE state = 'pending';
