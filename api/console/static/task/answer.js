/** The result of a task: its answer, its files, and what must be said of it. */

import { FileList } from "../parts/file_list.js";
import { Notice } from "../parts/notice.js";
import { Viewer } from "../parts/viewer.js";
import { html } from "../vendor.js";
import { list } from "./payload.js";

/** @type {Record<string, string>} */
const ANSWERED_BY = {
  plan: "The plan names this answer.",
  step: "The last step gave this answer.",
  model: "A model wrote this answer from the steps' outputs.",
  summary: "No step gives the answer: this is what the steps did.",
};

/**
 * Shown once the page is at an event after which the task has a result.
 * @param {{state: import("./reduce.js").State, facts: import("./facts.js").Facts}} props
 */
export function Answer({ state, facts }) {
  const result = facts.task?.result;
  if (!result || state.endedAt === null) return null;
  const value = result.data === null || result.data === undefined ? result.output : result.data;
  return html`<section class="answer panel" aria-labelledby="answer-title">
    <h2 id="answer-title">${result.partial ? "Partial result" : "Answer"}</h2>
    <p class="quiet">${ANSWERED_BY[result.answered_by] ?? ""} ${result.validation_passed ? "Every required criterion is met." : "It is not validated."}</p>
    ${list(result.warnings).map((warning) => html`<${Notice} tone="warning"><p>${String(warning)}</p><//>`)}
    <${Viewer} value=${result.output} label="answer" />
    ${value !== result.output && html`<details><summary>As data</summary><${Viewer} value=${value} label="answer as data" /></details>`}
    <${FileList} files=${list(result.artifacts)} />
  </section>`;
}
