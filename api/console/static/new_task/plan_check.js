// Has the API check a contract while it is written: after a pause, and one check at a time.
import { ApiError, send } from "../api_client.js";
import { useEffect, useRef, useState } from "../vendor.js";

const PAUSE_MS = 400;

/**
 * What POST /v1/plans/check answers.
 * @typedef {{faults: {path: string, message: string}[], planned_by: string, steps: any[], reserved_tokens: number,
 *   budget: Record<string, number> | null, limits: {body_bytes: number, file_bytes: number, attachments: number,
 *   criteria: number}}} Checked
 */

/**
 * Return the last answer, whether it is about the contract as it is now, and why the last check failed.
 * @param {Record<string, any>} contract
 * @returns {{checked: Checked | null, isCurrent: boolean, failure: Error | null}}
 */
export function usePlanCheck(contract) {
  const text = JSON.stringify(contract);
  const [answer, setAnswer] = useState(/** @type {{text: string, checked: Checked} | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const wanted = useRef(text);
  wanted.current = text;
  const checker = useRef(/** @type {Checker | null} */ (null));
  useEffect(() => {
    const made = new Checker(() => wanted.current, setAnswer, setFailure);
    checker.current = made;
    return () => made.stop();
  }, []);
  useEffect(() => checker.current?.later(answer ? PAUSE_MS : 0), [text]);
  return { checked: answer?.checked ?? null, isCurrent: answer?.text === text, failure };
}

class Checker {
  /**
   * @param {() => string} wanted the contract as it is now
   * @param {(answer: {text: string, checked: Checked}) => void} onAnswer
   * @param {(failure: Error | null) => void} onFailure
   */
  constructor(wanted, onAnswer, onFailure) {
    this.wanted = wanted;
    this.onAnswer = onAnswer;
    this.onFailure = onFailure;
    this.isBusy = false;
    this.isStopped = false;
    /** @type {string | null} */
    this.done = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  stop() {
    this.isStopped = true;
    clearTimeout(this.timer);
  }

  /** @param {number} ms */
  later(ms) {
    clearTimeout(this.timer);
    if (!this.isStopped) this.timer = setTimeout(() => this.check(), ms);
  }

  async check() {
    const text = this.wanted();
    if (this.isBusy || this.isStopped || text === this.done) return;
    this.isBusy = true;
    let pauseMs = PAUSE_MS;
    try {
      const { data } = await send("POST", "/v1/plans/check", JSON.parse(text));
      this.done = text;
      if (!this.isStopped) this.onAnswer({ text, checked: data });
      if (!this.isStopped) this.onFailure(null);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.isStopped) this.onFailure(error);
      if (!error.retryAfter) this.done = text;
      pauseMs = Math.max(PAUSE_MS, error.retryAfter * 1000);
    } finally {
      this.isBusy = false;
    }
    if (this.wanted() !== this.done) this.later(pauseMs);
  }
}
