-- name: complete
-- Complete a step and release what it frees, in one call; see migrations/sql/0019_transitions.sql.
SELECT answer, current_round, seconds, messages
FROM octollm_complete_2(
    %(chord_id)s, %(task_id)s, %(round)s, %(step_id)s, %(attempt)s, %(state)s, %(result)s, %(events)s, %(decision)s,
    %(max_parallel)s, %(redispatch_seconds)s
);

-- name: adopt
-- Save a task's first round and open its chord, in one call.
SELECT answer, current_round
FROM octollm_adopt_1(
    %(task_id)s, %(step_id)s, %(attempt)s, %(priority)s, %(result)s, %(plan_id)s, %(plan)s, %(rows)s, %(events)s,
    %(decisions)s, %(chord_id)s, %(body)s, %(size)s, %(redispatch_seconds)s
);

-- name: finish
-- End a task whose result the judge did not reject, in one call.
SELECT answer, current_round, priority, age_seconds
FROM octollm_finish_2(
    %(chord_id)s, %(task_id)s, %(round)s, %(step_id)s, %(attempt)s, %(result)s, %(verdict)s, %(task_result)s,
    %(events)s, %(decisions)s, %(fresh_seconds)s
);
