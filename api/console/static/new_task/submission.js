// Submits a contract so that a double click, or a second try after the connection broke, makes one task.
import { newKey, send } from "../api_client.js";

const NAME = "octollm.new-task-key";

/** The key of the contract that was sent last, as in the tab's storage. @type {{text: string, key: string} | null} */
let last = null;

/**
 * Return the idempotency key of a contract: the same one as long as the contract is the same.
 * @param {string} text the contract as JSON
 * @returns {string}
 */
function keyFor(text) {
  last ??= stored();
  if (last?.text === text) return last.key;
  last = { text, key: newKey() };
  try {
    sessionStorage.setItem(NAME, JSON.stringify(last));
  } catch {
    // the storage is full or switched off: the key lives as long as the page
  }
  return last.key;
}

/** @returns {{text: string, key: string} | null} */
function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(NAME) ?? "null");
  } catch {
    return null;
  }
}

/**
 * Submit a contract, and forget its key when its task is there. Raises ApiError.
 * @param {Record<string, any>} contract
 * @returns {Promise<string>} the task's id
 */
export async function submit(contract) {
  const key = keyFor(JSON.stringify(contract));
  const { data } = await send("POST", "/v1/tasks", contract, { headers: { "Idempotency-Key": key } });
  sessionStorage.removeItem(NAME);
  last = null;
  return data.task_id;
}
