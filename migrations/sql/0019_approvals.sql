-- Approvals: questions to people, each a row. While a person decides, the step's row waits: no worker, no lease, no slot
-- of MAX_PARALLEL_ARMS and no budget is held. docs/decisions/0023-approvals-are-rows.md gives the reasons.

ALTER TABLE tasks
    -- a step of the task waits for a person or will; such a task's transitions are made statement by statement
    ADD COLUMN has_gates boolean NOT NULL DEFAULT false,
    -- by how much the waits for people may put off the deadline: the union of the waits, the open ones in full
    ADD COLUMN wait_seconds float8 NOT NULL DEFAULT 0 CHECK (wait_seconds >= 0),
    -- the end of the last wait that wait_seconds covers
    ADD COLUMN waits_until timestamptz;

ALTER TABLE steps
    -- closed: a person must approve the step before it runs; open: a decision was made; null: none is needed
    ADD COLUMN gate text CHECK (gate IN ('closed', 'open')),
    DROP CONSTRAINT steps_state_check,
    ADD CONSTRAINT steps_state_check CHECK (
        state IN ('blocked', 'held', 'waiting', 'queued', 'running', 'done', 'failed', 'skipped', 'cancelled')
    ),
    -- prevents a step that runs before a person has decided, whichever process queues it
    ADD CONSTRAINT steps_gate_is_open CHECK (
        gate IS DISTINCT FROM 'closed' OR state IN ('blocked', 'held', 'waiting', 'skipped', 'cancelled')
    );
DROP INDEX steps_open;
CREATE INDEX steps_open ON steps (task_id, round)
    WHERE state IN ('blocked', 'held', 'waiting', 'queued', 'running');

CREATE TABLE approvals (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^appr_[0-9A-Za-z]{16}$'),
    tenant text NOT NULL,
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    step_id text COLLATE "C" NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    step text NOT NULL,
    round integer NOT NULL,
    -- approval: may the step run? question: what is the step's output? outcome: did the step's effect happen?
    kind text NOT NULL CHECK (kind IN ('approval', 'question', 'outcome')),
    ask text NOT NULL,
    assignee text,
    -- the decisions that may be made: approve, edit, reject; answer, reject; run_again, accept, reject
    allow text[] NOT NULL CHECK (
        cardinality(allow) > 0 AND allow <@ '{approve,edit,reject,answer,run_again,accept}'::text[]
    ),
    -- {arm, action, inputs} of what is about to run, and its sha256 (orchestrator.models.approval.hash_of)
    proposal jsonb NOT NULL,
    proposal_hash text NOT NULL CHECK (proposal_hash ~ '^[0-9a-f]{64}$'),
    answer_schema jsonb,
    asked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- when approval.expiring is due; null: it was written
    warn_at timestamptz,
    on_expiry text NOT NULL CHECK (on_expiry IN ('reject', 'approve', 'fail')),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN (
        'pending', 'approved', 'edited', 'rejected', 'answered', 'run_again', 'accepted', 'expired', 'withdrawn'
    )),
    decided_by text,
    decided_at timestamptz,
    -- how the decision came in: api, cli, console, link; policy: the step's on_expiry decided
    via text,
    comment text NOT NULL DEFAULT '',
    -- the inputs that replace the proposal's (edited), the step's output (answered) or what is known of it (accepted)
    answer jsonb,
    -- the decision's Idempotency-Key and the sha256 of its content
    once_name text,
    once_sha256 text,
    -- the step of a decision that needs no arm has got its result, or has ended otherwise
    settled boolean NOT NULL DEFAULT false,
    CONSTRAINT approvals_decided_has_time CHECK ((state = 'pending') = (decided_at IS NULL)),
    -- prevents a decision by nobody
    CONSTRAINT approvals_decided_by_someone CHECK (
        state IN ('pending', 'expired', 'withdrawn') OR decided_by IS NOT NULL OR (state = 'approved' AND via = 'policy')
    ),
    -- prevents an expiry that is recorded as a person's decision
    CONSTRAINT approvals_expired_by_nobody CHECK (
        decided_by IS NULL OR (state NOT IN ('pending', 'expired', 'withdrawn') AND via <> 'policy')
    ),
    CONSTRAINT approvals_answer_is_there CHECK (state NOT IN ('edited', 'answered') OR answer IS NOT NULL)
);
-- prevents two open questions about one step
CREATE UNIQUE INDEX approvals_one_pending ON approvals (step_id) WHERE state = 'pending';
CREATE INDEX approvals_by_step ON approvals (step_id, asked_at);
CREATE INDEX approvals_by_task ON approvals (task_id, id);
CREATE INDEX approvals_by_tenant ON approvals (tenant, state, id DESC);
CREATE INDEX approvals_expiring ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_to_warn ON approvals (warn_at) WHERE state = 'pending' AND warn_at IS NOT NULL;
CREATE INDEX approvals_to_settle ON approvals (decided_at)
    WHERE NOT settled AND state IN ('rejected', 'answered', 'accepted', 'expired');

-- The three functions below run with their owner's rights, because the processes of arms, planners, judges and sweepers
-- may neither write an approval nor move a task's deadline. Their caller holds the task's lock.

-- Asks about a step that has begun to wait. What is asked, who may answer how, and until when is taken from the step's
-- own spec, which no arm can change; for the outcome of an effect it is given. An approval expires at the latest with
-- the deadline that the client set. The task's deadline is put off by the part of the wait that no other wait covers. A
-- proposal with a fault asks nobody: it expires at once. No row: the step does not wait.
CREATE FUNCTION octollm_ask_1(
    new_id text, of_step text, new_kind text, new_proposal jsonb, new_hash text, new_schema jsonb, outcome jsonb
) RETURNS SETOF approvals LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    about record;
    asked approvals;
    terms jsonb;
    client_deadline timestamptz;
BEGIN
    SELECT s.id, s.name, s.round, s.spec, t.id AS task_id, t.tenant, t.contract INTO about
    FROM steps s
    JOIN tasks t ON t.id = s.task_id
    WHERE s.id = of_step AND s.state = 'waiting' AND t.finished_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    terms := CASE WHEN new_kind = 'outcome' THEN outcome ELSE about.spec -> 'approval' END;
    client_deadline := (about.contract ->> 'deadline')::timestamptz;
    asked.expires_at := CASE
        WHEN new_proposal ? 'fault' THEN now()
        ELSE least(now() + least((terms ->> 'expires_in')::float8, 2592000) * interval '1 second', client_deadline)
    END;
    INSERT INTO approvals (
        id, tenant, task_id, step_id, step, round, kind, ask, assignee, allow, proposal, proposal_hash, answer_schema,
        expires_at, warn_at, on_expiry
    )
    VALUES (
        new_id, about.tenant, about.task_id, about.id, about.name, about.round, new_kind, terms ->> 'ask', terms ->> 'by',
        ARRAY(SELECT jsonb_array_elements_text(terms -> 'allow')), new_proposal, new_hash, new_schema,
        asked.expires_at, CASE WHEN asked.expires_at > now() THEN now() + 0.8 * (asked.expires_at - now()) END,
        CASE
            WHEN new_proposal ? 'fault' OR (new_kind = 'outcome' AND terms ->> 'on_expiry' = 'approve') THEN 'reject'
            ELSE terms ->> 'on_expiry'
        END
    )
    RETURNING * INTO asked;
    UPDATE tasks t
    SET has_gates = true, waits_until = greatest(t.waits_until, asked.expires_at),
        wait_seconds = t.wait_seconds
            + greatest(0, extract(epoch FROM asked.expires_at - greatest(now(), t.waits_until))),
        deadline_at = least(client_deadline, t.deadline_at
            + greatest(interval '0', asked.expires_at - greatest(now(), t.waits_until)))
    WHERE t.id = about.task_id;
    RETURN NEXT asked;
END $$;

-- Takes back the part of a task's waits that no pending approval needs any more.
CREATE FUNCTION octollm_take_back_1(of_task text) RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT AS $$
    WITH open AS (
        SELECT greatest(now(), max(a.expires_at)) AS until
        FROM approvals a
        WHERE a.task_id = of_task AND a.state = 'pending'
    ), left_over AS (
        SELECT t.id, open.until, greatest(0, t.wait_seconds - extract(epoch FROM t.waits_until - open.until)) AS seconds
        FROM tasks t, open
        WHERE t.id = of_task AND t.waits_until > open.until
    )
    UPDATE tasks t
    SET wait_seconds = left_over.seconds, waits_until = left_over.until,
        deadline_at = least(
            (t.contract ->> 'deadline')::timestamptz,
            t.created_at + ((t.contract #>> '{budget,max_time_seconds}')::float8 + left_over.seconds) * interval '1 second'
        )
    FROM left_over
    WHERE t.id = left_over.id
$$;

-- Withdraws the pending approvals of a task that has ended.
CREATE FUNCTION octollm_withdraw_1(of_task text) RETURNS SETOF approvals LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT AS $$
    UPDATE approvals a
    SET state = 'withdrawn', decided_at = now(), settled = true
    FROM tasks t
    WHERE t.id = of_task AND t.finished_at IS NOT NULL AND a.task_id = t.id AND a.state = 'pending'
    RETURNING a.*
$$;

DO $$
BEGIN
    -- without the role, row-level security is off; migration 0006 has warned of it
    IF to_regrole('octollm_tenant') IS NULL THEN
        RETURN;
    END IF;
    GRANT SELECT, INSERT, UPDATE ON approvals TO octollm_tenant;
    ALTER TABLE approvals ENABLE ROW LEVEL SECURITY;
    ALTER TABLE approvals FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_tenants ON approvals USING (current_user <> 'octollm_tenant');
    CREATE POLICY one_tenant ON approvals TO octollm_tenant
    USING (tenant = nullif(current_setting('octollm.tenant', true), ''));
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'row-level security is not enforced on approvals: % may not grant', current_user;
END $$;
