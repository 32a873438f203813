// One arm in detail: three charts over the last minutes, and the same numbers as a table.
import { clock, count, duration } from "../format.js";
import { HeadCell, Table } from "../parts/table.js";
import { html } from "../vendor.js";
import { decimal } from "./arm_series.js";
import { Chart } from "./chart.js";

/** @typedef {import("./arm_series.js").Arm} Arm */

/**
 * The charts and the table of an arm.
 * @param {{arm: Arm, minutes: number}} props
 */
export function ArmDetail({ arm, minutes }) {
  const { series } = arm;
  return html`<section class="arm-detail" aria-label=${`Arm ${arm.arm_id}`}>
    <h2>${arm.name} <span class="mono quiet">${arm.arm_id}</span></h2>
    <p class="quiet">
      ${count(arm.ended, "step")} of all tenants ended in the last ${minutes} minutes.
      ${arm.complete_since !== null && html` Only the latest are counted: figures before ${clock(arm.complete_since)} are too low.`}
    </p>
    <div class="arm-charts">
      <${Chart}
        title="Steps queued and busy, on average"
        series=${series}
        lines=${[
          { member: "queued", name: "queued", colour: "hold" },
          { member: "busy", name: "busy", colour: "busy" },
        ]}
      />
      <${Chart}
        title="Steps ended in the minute"
        series=${series}
        lines=${[
          { member: "finished", name: "finished", colour: "good" },
          { member: "failed", name: "failed", colour: "bad" },
        ]}
      />
      <${Chart}
        title="How long they ran"
        series=${series}
        unit="ms"
        lines=${[
          { member: "p50_ms", name: "P50", colour: "accent" },
          { member: "p95_ms", name: "P95", colour: "hold" },
        ]}
      />
    </div>
    <details>
      <summary>The same as a table</summary>
      <${Minutes} arm=${arm} />
    </details>
  </section>`;
}

/** @param {{arm: Arm}} props */
function Minutes({ arm }) {
  const names = ["Minute", "Queued", "Busy", "Finished", "Failed", "P50", "P95"];
  const head = names.map((name, index) => html`<${HeadCell} isNumber=${index > 0}>${name}<//>`);
  return html`<${Table} caption=${`Minutes of arm ${arm.arm_id}, the latest first`} head=${head}>
    ${[...arm.series].reverse().map(
      (minute) => html`<tr key=${minute.at}>
        <th scope="row"><time dateTime=${minute.at}>${clock(minute.at).slice(11, 16)}</time></th>
        <td class="number">${decimal(minute.queued)}</td>
        <td class="number">${decimal(minute.busy)}</td>
        <td class="number">${minute.finished}</td>
        <td class="number">${minute.failed}</td>
        <td class="number">${minute.p50_ms === null ? "–" : duration(minute.p50_ms)}</td>
        <td class="number">${minute.p95_ms === null ? "–" : duration(minute.p95_ms)}</td>
      </tr>`,
    )}
  <//>`;
}
