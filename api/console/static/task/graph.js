/** The graph of a task's round, live or at any event, and the graph of a plan while it is written. */

import { address, setQuery } from "../address.js";
import { count } from "../format.js";
import { html, useEffect, useMemo, useState } from "../vendor.js";
import { GraphList } from "./graph_list.js";
import { GroupNode, StepNode } from "./graph_node.js";
import { GraphPicture } from "./graph_picture.js";
import { structureOf } from "./graph_structure.js";
import { boxOf, countsOf, isTicking, planBoxOf } from "./graph_text.js";
import { object, text } from "./payload.js";
import { edgesByTarget, edgesOf } from "./plan_edges.js";

const TICK_MS = 1000;

/**
 * @typedef {import("./reduce.js").State} State
 * @typedef {import("./reduce.js").StepState} StepState
 * @typedef {import("./plan_edges.js").Edge} Edge
 * @typedef {import("./graph_structure.js").Structure} Structure
 * @typedef {import("./graph_structure.js").Node} Node
 * @typedef {{path: string, message: string}} Fault path: as the checker names it, `steps.3.inputs.x`
 */

/**
 * @param {{state: State, planSteps?: readonly any[]|null, round?: number, selected?: string|null,
 *   onSelect: (step: string) => void, critical?: {legs: readonly {step: string, round: number}[]}|null,
 *   isLive?: boolean}} props planSteps: those of the round's plan, which say what flows; round: the one to show, the
 *   current one by default; critical: the critical path; isLive: time goes on, else it is that of the last event
 */
export function TaskGraph({ state, planSteps = null, round = state.round, selected = null, onSelect, critical = null, isLive = true }) {
  const steps = state.rounds[round]?.steps ?? NO_STEPS;
  const { query } = address.value;
  const open = query.get("open") ?? "";
  const group = query.get("group");
  const edges = useRoundEdges(steps, planSteps);
  const structure = useStructure(steps, edges, open);
  const all = Object.values(steps);
  const now = useNow(isLive && all.some(isTicking), state.lastEventAt ?? 0, isLive);
  const lit = useMemo(() => namesOn(critical, steps), [critical, round]);
  if (all.length === 0) return html`<p class="quiet">There is no plan yet, so there is no graph.</p>`;

  const isOpen = (/** @type {string} */ name) => open.split(",").includes(name);
  /** @type {import("./graph_picture.js").Drawing} */
  const drawing = {
    partsOf: ({ kind, names: members }) => {
      if (kind === "group") return members.map((name) => steps[name]?.state);
      const [name = ""] = members;
      const step = steps[name];
      return [step, step && isTicking(step) ? now : null, isOpen(name), round];
    },
    draw: (props) => {
      const step = steps[props.node.names[0] ?? ""];
      if (props.node.kind === "group" || !step) {
        const counts = countsOf(props.node.names, steps);
        return html`<${GroupNode} key=${props.node.id} ...${props} counts=${counts} label=${groupLabel(props.node, counts)} />`;
      }
      const shown = isOpen(step.name);
      return html`<${StepNode} key=${props.node.id} ...${props} isOpen=${shown} box=${boxOf(step, { now, round, isOpen: shown })} />`;
    },
  };
  const listed = structure.nodes.find((node) => node.kind === "group" && node.id === group)?.names;
  const names = listed ?? (query.get("list") ? all.map((step) => step.name) : null);
  return html`<section class="graph" aria-label="Graph">
    <${GraphPicture}
      structure=${structure}
      drawing=${drawing}
      label=${roundLabel(all, steps, round)}
      chosen=${structure.isGrouped ? group : selected && `step ${selected}`}
      critical=${lit}
      onChoose=${(/** @type {Node} */ node) => (node.kind === "group" ? showGroup(node, group) : onSelect(node.names[0] ?? ""))}
      onOpen=${(/** @type {Node} */ node) => (node.kind === "group" ? showGroup(node, group) : openItems(steps[node.names[0] ?? ""], open))}
      onItem=${onSelect}
      tools=${html`<${ListButton} isShown=${names !== null} onToggle=${() => setQuery({ list: names === null, group: null })} />`}
    />
    ${names && html`<${GraphList}
      caption=${listed ? `${count(listed.length, "step")} of the group` : count(names.length, "step")}
      boxes=${names.map((name) => /** @type {StepState} */ (steps[name])).filter(Boolean).map((step) => boxOf(step, { now, round }))}
      edges=${edges}
      onSelect=${onSelect}
    />`}
  </section>`;
}

/**
 * The graph of a plan that does not run; steps with faults are marked.
 * @param {{steps: readonly any[], faults?: readonly Fault[], selected?: string|null,
 *   onSelect?: (step: string) => void}} props steps: of a plan, which may be anything
 */
export function PlanGraph({ steps, faults = NO_FAULTS, selected = null, onSelect = () => {} }) {
  const [group, setGroup] = useState(/** @type {string|null} */ (null));
  const [isListed, setListed] = useState(false);
  const known = useMemo(() => planSteps(steps, faults), [steps, faults]);
  const edges = useMemo(() => edgesOf(steps), [steps]);
  const shape = JSON.stringify([[...known].map(([name, { step }]) => [name, step.arm]), edges]);
  const structure = useMemo(
    () => structureOf([...known].map(([name, { step }]) => ({ name, arm: text(step.arm) ?? "" })), edges),
    [shape],
  );
  const boxes = useMemo(() => planBoxes(known, edges), [known, edges]);
  if (known.size === 0) return html`<p class="quiet">The plan has no steps yet.</p>`;
  /** @type {import("./graph_picture.js").Drawing} */
  const drawing = {
    partsOf: (node) => node.names.map((name) => boxes.get(name)?.label),
    draw: (props) => {
      const box = boxes.get(props.node.names[0] ?? "");
      return props.node.kind === "group" || !box
        ? html`<${GroupNode} key=${props.node.id} ...${props} counts=${NO_COUNTS} label=${groupLabel(props.node, [])} />`
        : html`<${StepNode} key=${props.node.id} ...${props} box=${box} isOpen=${false} />`;
    },
  };
  const listed = structure.nodes.find((node) => node.kind === "group" && node.id === group)?.names;
  const names = listed ?? (isListed ? [...known.keys()] : null);
  const choose = (/** @type {Node} */ node) =>
    node.kind === "group" ? setGroup(node.id === group ? null : node.id) : onSelect(node.names[0] ?? "");
  return html`<section class="graph" aria-label="Graph">
    <${GraphPicture}
      structure=${structure}
      drawing=${drawing}
      label=${`Graph of the plan: ${count(known.size, "step")}. The list of steps says the same in words.`}
      chosen=${structure.isGrouped ? group : selected && `step ${selected}`}
      onChoose=${choose}
      onOpen=${choose}
      tools=${html`<${ListButton} isShown=${names !== null} onToggle=${() => { setListed(names === null); setGroup(null); }} />`}
    />
    ${names && html`<${GraphList} caption=${count(names.length, "step")} boxes=${names.flatMap((name) => boxes.get(name) ?? [])} edges=${edges} onSelect=${onSelect} />`}
  </section>`;
}

/** @type {Record<string, StepState>} */
const NO_STEPS = {};
/** @type {readonly Fault[]} */
const NO_FAULTS = [];
/** @type {[string, number][]} */
const NO_COUNTS = [];

/** @param {{isShown: boolean, onToggle: () => void}} props */
function ListButton({ isShown, onToggle }) {
  return html`<button type="button" aria-pressed=${String(isShown)} onClick=${onToggle}>List of steps</button>`;
}

/**
 * @param {Record<string, StepState>} steps
 * @param {readonly any[]|null} plan
 * @returns {Edge[]} the same while neither the plan nor the dependencies change
 */
function useRoundEdges(steps, plan) {
  const carried = useMemo(
    () => new Map(edgesOf(plan ?? []).map((edge) => [`${edge.from}\n${edge.to}`, edge.carries])),
    [plan],
  );
  const pairs = Object.values(steps).flatMap(({ name, dependsOn }) => dependsOn.map((from) => `${from}\n${name}`));
  return useMemo(
    () =>
      pairs.map((pair) => {
        const [from = "", to = ""] = pair.split("\n");
        return { from, to, carries: carried.get(pair) ?? (plan === null ? null : []) };
      }),
    [pairs.join("\0"), carried],
  );
}

/**
 * @param {Record<string, StepState>} steps
 * @param {Edge[]} edges
 * @param {string} open names of the steps whose items are shown, with commas between
 * @returns {Structure} the same while no box and no arrow changes
 */
function useStructure(steps, edges, open) {
  const opened = open.split(",");
  const boxes = Object.values(steps).map((step) => ({
    name: step.name,
    arm: step.arm ?? "",
    cells: opened.includes(step.name) ? (step.items?.count ?? 0) : 0,
  }));
  const key = boxes.map(({ name, arm, cells }) => `${name}\t${arm}\t${cells}`).join("\n");
  return useMemo(() => structureOf(boxes, edges), [key, edges]);
}

/**
 * @param {boolean} isTickingNow something on the page changes with the time
 * @param {number} lastEventAt
 * @param {boolean} isLive
 * @returns {number} milliseconds since 1970
 */
function useNow(isTickingNow, lastEventAt, isLive) {
  const [tick, setTick] = useState(() => Date.now());
  useEffect(() => {
    if (!isTickingNow) return undefined;
    const timer = setInterval(() => setTick(Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [isTickingNow]);
  return isLive ? Math.max(tick, lastEventAt) : lastEventAt;
}

/**
 * @param {{legs: readonly {step: string, round: number}[]}|null} path
 * @param {Record<string, StepState>} steps
 * @returns {ReadonlySet<string>} the steps on the path that ran in the round in which they are shown to have run
 */
function namesOn(path, steps) {
  const names = new Set();
  for (const leg of path?.legs ?? []) {
    const name = leg.step.split("[")[0] ?? "";
    if (steps[name]?.round === leg.round) names.add(name);
  }
  return names;
}

/**
 * @param {Node} node
 * @param {string|null} shown
 */
function showGroup(node, shown) {
  setQuery({ group: node.id === shown ? null : node.id });
}

/**
 * @param {StepState|undefined} step
 * @param {string} open
 */
function openItems(step, open) {
  if (!step?.items) return;
  const names = open.split(",").filter(Boolean);
  const next = names.includes(step.name) ? names.filter((name) => name !== step.name) : [...names, step.name];
  setQuery({ open: next.join(",") });
}

/**
 * @param {StepState[]} all
 * @param {Record<string, StepState>} steps
 * @param {number} round
 */
function roundLabel(all, steps, round) {
  const told = countsOf(all.map((step) => step.name), steps).map(([state, number]) => `${number} ${state}`);
  return `Graph of round ${round}: ${count(all.length, "step")}, ${told.join(", ")}. The list of steps says the same in words.`;
}

/**
 * @param {Node} node
 * @param {[string, number][]} counts
 */
function groupLabel(node, counts) {
  const told = counts.map(([state, number]) => `, ${number} ${state}`).join("");
  return `${count(node.names.length, "step")} of ${node.arm || "no arm"} at depth ${node.depth}${told}`;
}

/**
 * @param {readonly any[]} steps
 * @param {readonly Fault[]} faults
 * @returns {Map<string, {step: Record<string, any>, wrong: string[]}>} by name; of steps with one name the first
 */
function planSteps(steps, faults) {
  /** @type {Map<string, string[]>} */
  const wrong = new Map();
  for (const { path, message } of faults) {
    const place = path.split(".", 2)[1] ?? "";
    wrong.set(place, [...(wrong.get(place) ?? []), message]);
  }
  const found = new Map();
  for (const [place, step] of steps.entries()) {
    const name = text(object(step).id);
    if (name !== null && !found.has(name)) found.set(name, { step: object(step), wrong: wrong.get(String(place)) ?? [] });
  }
  return found;
}

/**
 * @param {ReturnType<typeof planSteps>} steps
 * @param {readonly Edge[]} edges
 * @returns {Map<string, import("./graph_text.js").Box>} by the step's name
 */
function planBoxes(steps, edges) {
  const before = edgesByTarget(edges);
  return new Map(
    [...steps].map(([name, { step, wrong }]) => [
      name,
      planBoxOf(step, wrong, (before.get(name) ?? []).map((edge) => edge.from)),
    ]),
  );
}
