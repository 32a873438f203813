// The list of tasks.
import { poll } from "../api_client.js";
import { Badge } from "../parts/badge.js";
import { Notice } from "../parts/notice.js";
import { HeadCell, Table } from "../parts/table.js";
import { html, useEffect, useState } from "../vendor.js";

export default function Tasks() {
  const [tasks, setTasks] = useState(/** @type {any[]} */ ([]));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  useEffect(
    () =>
      poll("/v1/tasks", {
        onData: (data) => {
          setTasks(data.tasks);
          setFailure(null);
        },
        onError: setFailure,
      }),
    [],
  );
  return html`
    <h1>Tasks</h1>
    <${Notice} error=${failure} />
    <${Table} caption="Tasks" head=${[html`<${HeadCell}>Task<//>`, html`<${HeadCell}>Status<//>`]}>
      ${tasks.map((task) => html`<tr key=${task.task_id}><td class="mono">${task.task_id}</td><td><${Badge} state=${task.status} /></td></tr>`)}
    <//>
  `;
}
