// Keeps the rows of a list in their places while the list changes, until the reader asks for the new one.

/**
 * @typedef {{task_id: string, status: string, phase: string, goal: string, priority: string, percentage: number,
 *   completed_steps: number, total_steps: number, waiting: number, tokens_used: number, cost_dollars: number | null,
 *   created_at: string, updated_at: string, processing_time_ms: number | null}} Task
 * @typedef {{tasks: Task[], fresh: number, gone: string[], isMoved: boolean}} Shown
 *   tasks: the rows; fresh: how many tasks of the list are not among them; gone: ids of the rows that are not in the
 *   list any more; isMoved: the list has another order
 */

/**
 * Return the rows after an answer: the same tasks in the same places, each as the answer has it. Without rows, and
 * where nothing would move, the answer itself.
 * @param {Task[]} rows
 * @param {Task[]} answer
 * @returns {Shown}
 */
export function arrive(rows, answer) {
  const latest = new Map(answer.map((task) => [task.task_id, task]));
  const known = new Set(rows.map((task) => task.task_id));
  const fresh = answer.filter((task) => !known.has(task.task_id)).length;
  const gone = rows.filter((task) => !latest.has(task.task_id)).map((task) => task.task_id);
  const stayed = rows.filter((task) => latest.has(task.task_id));
  const inOrder = answer.filter((task) => known.has(task.task_id));
  const isMoved = stayed.some((task, index) => task.task_id !== inOrder[index]?.task_id);
  // rows that are added behind the others move none
  const isAppended = gone.length === 0 && !isMoved && stayed.every((task, index) => task.task_id === answer[index]?.task_id);
  if (isAppended) return { tasks: answer, fresh: 0, gone: [], isMoved: false };
  return { tasks: rows.map((task) => latest.get(task.task_id) ?? task), fresh, gone, isMoved };
}
