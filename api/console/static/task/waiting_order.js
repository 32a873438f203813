// Puts the sentences about what a task waits for into an order: what needs somebody comes first.

/**
 * A sentence of GET /v1/tasks/{id}/waiting.
 * @typedef {{step_id: string | null, kind: string, text: string, until: string | null, by: string | null,
 *   arm: string | null, approval_id: string | null}} Sentence
 */

/** Of each kind: how urgent it is (0 first), its tone, its glyph and its name. */
export const KINDS = /** @type {const} */ ({
  worker: [0, "bad", "✗", "no worker"],
  outage: [1, "bad", "⚠", "outage"],
  lease: [2, "bad", "⚠", "worker lost"],
  approval: [3, "hold", "◔", "person"],
  budget: [4, "hold", "‖", "budget"],
  model_limit: [5, "hold", "‖", "model"],
  retry: [6, "hold", "↻", "retry"],
  slot: [7, "idle", "○", "queue"],
  planner: [8, "busy", "▶", "planner"],
  running: [9, "busy", "▶", "running"],
  judge: [10, "idle", "◌", "judge"],
  dependency: [11, "idle", "◌", "steps"],
  task: [12, "idle", "•", "task"],
});

/**
 * How a sentence looks; a kind of a later release looks plain.
 * @param {string} kind
 * @returns {readonly [urgency: number, tone: string, glyph: string, name: string]}
 */
export function lookOf(kind) {
  return Object.hasOwn(KINDS, kind) ? KINDS[/** @type {keyof typeof KINDS} */ (kind)] : [12, "idle", "•", kind];
}

/**
 * The sentence about the whole task, and those about its steps, the urgent ones first.
 * @param {Sentence[]} sentences as the API gives them
 * @returns {{task: Sentence | null, steps: Sentence[]}}
 */
export function ordered(sentences) {
  const task = sentences[0]?.kind === "task" && sentences[0].step_id === null ? sentences[0] : null;
  const steps = sentences.slice(task ? 1 : 0);
  // the sort is stable: within a kind the API's order stays
  steps.sort((one, other) => lookOf(one.kind)[0] - lookOf(other.kind)[0]);
  return { task, steps };
}
