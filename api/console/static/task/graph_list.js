/** The steps of a graph as a table: the same in words, for everybody who does not look at pictures. */

import { count } from "../format.js";
import { Badge } from "../parts/badge.js";
import { HeadCell, Table } from "../parts/table.js";
import { html, useMemo, useState } from "../vendor.js";
import { flowOf } from "./graph_picture.js";
import { edgesByTarget } from "./plan_edges.js";

const PAGE = 100;

/**
 * @typedef {import("./graph_text.js").Box} Box
 * @typedef {import("./plan_edges.js").Edge} Edge
 */

/** @param {{caption: string, boxes: Box[], edges: readonly Edge[], onSelect: (step: string) => void}} props */
export function GraphList({ caption, boxes, edges, onSelect }) {
  const [shown, setShown] = useState(PAGE);
  const before = useMemo(() => edgesByTarget(edges), [edges]);
  const head = ["step", "arm", "state", "so far", "after"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`<div class="graph-list">
    <${Table} caption=${caption} head=${head}>
      ${boxes.slice(0, shown).map((box) => html`<${Row} key=${box.name} box=${box} before=${before.get(box.name) ?? []} onSelect=${onSelect} />`)}
    <//>
    ${boxes.length > shown &&
    html`<p><button type="button" onClick=${() => setShown(shown + PAGE)}>Show more of ${count(boxes.length, "step")}</button></p>`}
  </div>`;
}

/** @param {{box: Box, before: Edge[], onSelect: (step: string) => void}} props before: the edges that lead to the step */
function Row({ box, before, onSelect }) {
  return html`<tr>
    <td><button type="button" class="quiet" onClick=${() => onSelect(box.name)}>${box.name}</button></td>
    <td>${box.does}</td>
    <td>${box.state === null ? "not run" : html`<${Badge} state=${box.state} />`}</td>
    <td>${[box.told, box.items && `${box.items} items`, ...box.faults].filter(Boolean).join("; ")}</td>
    <td>${before.map((edge) => `${edge.from}${flowOf(edge.carries)}`).join("; ")}</td>
  </tr>`;
}
