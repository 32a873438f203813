/** The state that the console computes from a task's events is the one that the server had after each of them. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { EventLog } from "../../api/console/static/task/event_log.js";
import { initial, reduce, reduceAll } from "../../api/console/static/task/reduce.js";
import { statusOf } from "../../api/console/static/task/steps_of.js";

const CASES = new URL("cases/", import.meta.url);

/** @type {[string, {events: any[], statuses: Record<string, any>}][]} */
const cases = readdirSync(CASES).map((name) => [name, JSON.parse(readFileSync(new URL(name, CASES), "utf8"))]);

for (const [name, { events, statuses }] of cases) {
  test(`${name}: the state after each event is the server's`, () => {
    for (const [seq, status] of Object.entries(statuses)) {
      assert.deepEqual(statusOf(reduceAll(events, { to: Number(seq) })), status, `after event ${seq}`);
    }
  });

  test(`${name}: one event at a time gives what all at once give`, () => {
    const log = new EventLog();
    let state = initial();
    for (const event of events) {
      const before = JSON.stringify(state);
      const next = reduce(state, event);
      assert.equal(JSON.stringify(state), before, "an earlier state was changed");
      state = next;
      assert.equal(reduce(state, event), state, "a repeated event changed the state");
      log.add([event]);
      assert.deepEqual(log.stateAt(event.seq), state);
    }
    assert.deepEqual(reduceAll(events), state);
    assert.deepEqual(state.gaps, []);
  });
}
