-- What a task's trace needs besides its id: the caller's span, and that of the task which this one repeats. Null for
-- nearly all tasks. The bound keeps a header that a client chose from filling the table.
ALTER TABLE tasks ADD COLUMN trace_context jsonb
    CHECK (jsonb_typeof(trace_context) = 'object' AND length(trace_context::text) <= 400);
