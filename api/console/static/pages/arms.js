// The arms: what each does now, and did in the last minutes.
import { address, setQuery } from "../address.js";
import { poll } from "../api_client.js";
import { ArmDetail } from "../arms/arm_detail.js";
import { percent, problemOf, SORT_KEYS, sorted } from "../arms/arm_series.js";
import { count, duration, money } from "../format.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { HeadCell, Table } from "../parts/table.js";
import { html, useEffect, useState } from "../vendor.js";

const EVERY_MS = 2000;
const WINDOWS = [15, 60, 180];

/** @typedef {import("../arms/arm_series.js").Arm} Arm */
/** @typedef {import("../arms/arm_series.js").SortKey} SortKey */

/** @type {[key: SortKey, name: string][]} */
const COLUMNS = [
  ["arm_id", "Arm"],
  ["status", "Status"],
  ["queued", "Queued"],
  ["oldest_queued_seconds", "Oldest"],
  ["workers", "Workers"],
  ["busy", "Busy"],
  ["success_rate", "Success"],
  ["p50_ms", "P50"],
  ["p95_ms", "P95"],
  ["cost_dollars", "Own cost"],
];
const TONES = /** @type {Record<string, [string, string]>} */ ({
  healthy: ["good", "✓"],
  degraded: ["hold", "⚠"],
  unavailable: ["bad", "✗"],
});

/** The page of all arms; the chosen one, the window and the order are in the URL. */
export default function Arms() {
  const { query } = address.value;
  const minutes = WINDOWS.find((one) => String(one) === query.get("minutes")) ?? 60;
  const path = `/v1/arms/statistics?minutes=${minutes}`;
  const [arms, setArms] = useState(/** @type {Arm[] | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  useEffect(
    () =>
      poll(path, {
        everyMs: EVERY_MS,
        onData: (data) => {
          setArms(data.arms);
          setFailure(null);
        },
        onError: setFailure,
      }),
    [path],
  );
  const chosen = arms?.find((arm) => arm.arm_id === query.get("arm"));
  return html`
    <h1>Arms</h1>
    <${Notice} error=${failure} />
    <${Windows} minutes=${minutes} />
    ${arms && html`<${Unserved} arms=${arms} />`}
    ${arms && html`<${ArmTable} arms=${arms} query=${query} minutes=${minutes} />`}
    ${chosen && html`<${ArmDetail} key=${chosen.arm_id} arm=${chosen} minutes=${minutes} />`}
    <${CommandLines} cli=${octollmOf("arms")} curl=${curlOf("GET", path)} />
  `;
}

/** @param {{minutes: number}} props */
function Windows({ minutes }) {
  return html`<div class="row arm-windows" role="group" aria-label="Time shown">
    ${WINDOWS.map(
      (one) => html`<button type="button" aria-pressed=${one === minutes} onClick=${() => setQuery({ minutes: one === 60 ? null : one })}>
        ${one === 60 ? "1 hour" : one > 60 ? `${one / 60} hours` : `${one} min`}
      </button>`,
    )}
  </div>`;
}

/** @param {{arms: Arm[]}} props */
function Unserved({ arms }) {
  const without = arms.filter((arm) => arm.is_unserved);
  if (!without.length) return null;
  return html`<div class="notice error" role="alert">
    ${without.map((arm) => html`<p><strong>✗ ${arm.arm_id}</strong>: ${problemOf(arm)}. Its ${count(arm.queued, "queued step")} will not run until a worker takes them.</p>`)}
  </div>`;
}

/** @param {{arms: Arm[], query: URLSearchParams, minutes: number}} props */
function ArmTable({ arms, query, minutes }) {
  const key = SORT_KEYS.find((one) => one === query.get("sort")) ?? null;
  const isDescending = query.get("down") === "1";
  /** @param {SortKey} name */
  const sort = (name) => setQuery({ sort: name, down: key === name ? !isDescending : name !== "arm_id" });
  const head = COLUMNS.map(
    ([name, title]) => html`<${HeadCell}
      isNumber=${name !== "arm_id" && name !== "status"}
      sorted=${key === name ? (isDescending ? "descending" : "ascending") : null}
      onSort=${() => sort(name)}
    >${title}<//>`,
  );
  return html`<${Table} caption=${`Arms, the last ${minutes} minutes`} head=${head}>
    ${sorted(arms, key, isDescending).map((arm) => html`<${ArmRow} key=${arm.arm_id} arm=${arm} isChosen=${arm.arm_id === query.get("arm")} />`)}
  <//>`;
}

/** @param {{arm: Arm, isChosen: boolean}} props */
function ArmRow({ arm, isChosen }) {
  const [tone, glyph] = TONES[arm.status] ?? ["idle", "•"];
  const problem = problemOf(arm);
  return html`<tr class=${`arm-row${arm.is_unserved ? " arm-unserved" : ""}`}>
    <th scope="row">
      <button type="button" class="quiet" aria-expanded=${isChosen} onClick=${() => setQuery({ arm: isChosen ? null : arm.arm_id })} title=${arm.name}>
        ${arm.arm_id}
      </button>
    </th>
    <td>
      <span class=${`badge ${tone}`}><span aria-hidden="true">${glyph}</span>${arm.status}</span>
      ${problem && html`<div class="arm-problem">${problem}</div>`}
    </td>
    <td class="number">${arm.queued}</td>
    <td class="number">${arm.oldest_queued_seconds === null ? "–" : duration(arm.oldest_queued_seconds * 1000)}</td>
    <td class="number">${arm.workers}</td>
    <td class="number" title="busy slots of all slots">${arm.busy} / ${arm.slots}</td>
    <td class="number" title=${count(arm.ended, "ended step")}>${percent(arm.success_rate)}</td>
    <td class="number">${arm.p50_ms === null ? "–" : duration(arm.p50_ms)}</td>
    <td class="number">${arm.p95_ms === null ? "–" : duration(arm.p95_ms)}</td>
    <td class="number" title="what your tenant's steps cost">${money(arm.cost_dollars)}</td>
  </tr>`;
}

