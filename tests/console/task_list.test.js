import assert from "node:assert/strict";
import { test } from "node:test";
import { arrive } from "../../api/console/static/tasks/arrivals.js";
import { apiPath, commandLine, isFiltered, toggled } from "../../api/console/static/tasks/query.js";

const tasks = (...ids) => ids.map((id) => ({ task_id: id, status: "queued" }));
const idsOf = ({ tasks: rows }) => rows.map((task) => task.task_id).join("");

test("the first answer is shown as it is", () => {
  assert.deepEqual(arrive([], tasks("c", "b")), { tasks: tasks("c", "b"), fresh: 0, gone: [], isMoved: false });
});

test("new tasks in front are counted and move no row", () => {
  const shown = arrive(tasks("c", "b", "a"), tasks("e", "d", "c", "b", "a"));

  assert.equal(idsOf(shown), "cba");
  assert.deepEqual([shown.fresh, shown.gone], [2, []]);
});

test("a row is updated in its place, also in another order", () => {
  const done = { task_id: "a", status: "completed" };

  const shown = arrive(tasks("b", "a"), [done, ...tasks("b")]);

  assert.equal(idsOf(shown), "ba");
  assert.equal(shown.tasks[1].status, "completed");
  assert.ok(shown.isMoved);
});

test("a row that left the list stays in its place and is named", () => {
  const shown = arrive(tasks("c", "b", "a"), tasks("c", "a"));

  assert.equal(idsOf(shown), "cba");
  assert.deepEqual([shown.gone, shown.fresh, shown.isMoved], [["b"], 0, false]);
});

test("tasks behind the rows are shown at once", () => {
  assert.equal(idsOf(arrive(tasks("a"), tasks("a", "b"))), "ab");
});

test("the address gives the call and the command", () => {
  const query = new URLSearchParams("status=failed,queued&goal=late&min_cost=2&sort=dearest&odd=1&cursor=x");

  assert.equal(
    apiPath(query),
    "/v1/tasks?limit=50&counts=true&status=failed%2Cqueued&goal=late&min_cost=2&sort=dearest&cursor=x",
  );
  assert.equal(commandLine(query), "octollm list --status failed,queued --goal late --min-cost 2 --sort dearest");
  assert.deepEqual(["", "sort=oldest", "goal=x"].map((text) => isFiltered(new URLSearchParams(text))), [false, false, true]);
});

test("a status is added and removed; all are none", () => {
  const of = (text) => new URLSearchParams({ status: text });

  assert.equal(toggled(of(""), "failed"), "failed");
  assert.equal(toggled(of("failed"), "queued"), "queued,failed");
  assert.equal(toggled(of("failed"), "failed"), null);
  assert.equal(toggled(of("queued,processing,completed,failed"), "cancelled"), null);
});
