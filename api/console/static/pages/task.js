/** One task: live, and as it was after any of its events. */

import { address, Link, setQuery } from "../address.js";
import { Notice } from "../parts/notice.js";
import { Tabs } from "../parts/tabs.js";
import { Answer } from "../task/answer.js";
import { criticalPath } from "../task/critical_path.js";
import { planOf } from "../task/facts.js";
import { TaskGraph } from "../task/graph.js";
import { LiveTask } from "../task/live_task.js";
import { RoundPicker } from "../task/round_picker.js";
import { Scrubber } from "../task/scrubber.js";
import { StepDrawer } from "../task/step_drawer.js";
import { StepsTable } from "../task/steps_table.js";
import { TaskHeader } from "../task/task_header.js";
import { Timeline } from "../task/timeline.js";
import { useEventNumber } from "../task/use_event_number.js";
import { WaitingSentences } from "../task/waiting.js";
import { WhyPath } from "../task/why_path.js";
import { html, useEffect, useMemo } from "../vendor.js";

/**
 * What every part of the page gets: the task after its first n events, and what is loaded beside them.
 * @typedef {object} TaskProps
 * @property {string} id the task's
 * @property {import("../task/reduce.js").State} state
 * @property {import("../task/facts.js").Facts} facts
 * @property {import("../task/reduce.js").State} latest the task after all events that came
 * @property {number} n number of the last event that is shown
 * @property {boolean} isLive whether that is the last one that came
 * @property {number} round number of the round that is shown
 * @property {string|null} selected name of the chosen step
 * @property {(step: string|null) => void} onSelect
 */

/** @type {{id: string, label: string, View: (props: TaskProps) => unknown}[]} */
const VIEWS = [
  { id: "graph", label: "Graph", View: Graph },
  { id: "timeline", label: "Timeline", View: Timeline },
  { id: "table", label: "Steps", View: StepsTable },
];

/** @param {{params: Record<string, string>}} props */
export default function TaskPage({ params }) {
  const id = params.id ?? "";
  return html`<${Task} key=${id} id=${id} />`;
}

/** @param {{id: string}} props */
function Task({ id }) {
  const live = useMemo(() => new LiveTask(id), []);
  useEffect(() => live.start(), []);
  const connection = live.connection.value;
  const facts = live.facts.value;
  const size = live.size.value;
  const [n, isLive, showEvent] = useEventNumber(size);
  const latest = useMemo(() => live.log.stateAt(size), [size]);
  if (connection.state === "gone") return html`<${Gone} id=${id} />`;
  const state = n === size ? latest : live.log.stateAt(n);
  const { query } = address.value;
  const round = roundOf(query.get("round"), state);
  /** @type {TaskProps} */
  const props = { id, state, latest, facts, n, isLive, round, selected: query.get("step"), onSelect: (step) => setQuery({ step }) };
  const { id: view, View } = VIEWS.find((one) => one.id === query.get("view")) ?? /** @type {any} */ (VIEWS[0]);
  return html`
    <${TaskHeader} ...${props} live=${live} />
    <${Notice} error=${facts.error} />
    ${facts.task && html`<${WaitingSentences} facts=${facts} state=${latest} onSelect=${props.onSelect} />`}
    <${Scrubber} log=${live.log} n=${n} size=${size} isLive=${isLive} onShow=${showEvent} />
    <div class="task-views">
      <${Tabs} label="Views" tabs=${VIEWS} selected=${view} onSelect=${(/** @type {string} */ one) => setQuery({ view: one === VIEWS[0]?.id ? null : one })} />
      ${view === "timeline"
        ? null
        : html`<${RoundPicker} state=${state} round=${round} onSelect=${(/** @type {number|null} */ one) => setQuery({ round: one })} />`}
    </div>
    <div role="tabpanel" id=${`panel-${view}`} aria-labelledby=${`tab-${view}`}><${View} ...${props} /></div>
    <${StepDrawer} ...${props} />
    <${Answer} state=${state} facts=${facts} />
    <${WhyPath} ...${props} />
  `;
}

/** @param {TaskProps} props */
function Graph({ state, latest, facts, round, selected, onSelect, isLive }) {
  const steps = planOf(facts, round)?.steps ?? null;
  // of a task that runs it would change with every event
  const critical = useMemo(() => (latest.endedAt === null ? null : criticalPath(latest, latest.endedAt)), [latest]);
  return html`<${TaskGraph}
    state=${state}
    planSteps=${steps}
    round=${round}
    selected=${selected}
    onSelect=${onSelect}
    critical=${critical}
    isLive=${isLive && state.endedAt === null}
  />`;
}

/** @param {{id: string}} props */
function Gone({ id }) {
  return html`
    <h1>No such task</h1>
    <p>There is no task <span class="mono">${id}</span>: it was deleted, or it is another tenant's.</p>
    <p><${Link} href="/tasks">All tasks<//></p>
  `;
}

/**
 * @param {string|null} wanted
 * @param {import("../task/reduce.js").State} state
 * @returns {number} the wanted round, if there is one, else the current one
 */
function roundOf(wanted, state) {
  const round = wanted === null ? Number.NaN : Number(wanted);
  return state.rounds[round] ? round : state.round;
}
