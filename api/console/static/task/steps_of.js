/** What the status of a task says, computed from its state: the plan's steps, each in the latest round that has it. */

/**
 * @typedef {import("./reduce.js").State} State
 * @typedef {import("./reduce.js").StepState} StepState
 */

/**
 * Return the steps of a round, in the plan's order; kept ones are as they were in the round before.
 * @param {State} state
 * @param {number} [round] number of the round; the current one by default, before a plan what began early
 * @returns {StepState[]}
 */
export function stepsOf(state, round = state.round) {
  return Object.values(state.rounds[round]?.steps ?? {});
}

/**
 * Return what GET /v1/tasks/{id} says of a task in this state.
 * @param {State} state
 * @returns {{status: string, phase: string, approvals: string[], steps: Record<string, object>}}
 */
export function statusOf(state) {
  /** @type {Record<string, object>} */
  const steps = {};
  for (const step of stepsOf(state)) {
    steps[step.name] = {
      status: step.rowState ?? step.state,
      round: step.round,
      attempt: step.attempts.at(-1)?.attempt ?? 0,
      items: step.items === undefined ? null : present(step.items.byState),
    };
  }
  const pending = Object.values(state.approvals).filter((asked) => asked.state === "pending");
  return { status: state.status, phase: state.phase, steps, approvals: pending.map((asked) => asked.id).sort() };
}

/**
 * @param {Record<string, number>} counts
 * @returns {Record<string, number>|null} those that are not 0
 */
function present(counts) {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  return some.length > 0 ? Object.fromEntries(some) : null;
}
