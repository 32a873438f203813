/** Layouts are made by a Worker, and by the page where there is none. */

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { LayoutClient } from "../../api/console/static/task/layout_client.js";

const shapeOf = (count) => ({
  sizes: Array.from({ length: count }, () => [10, 10]),
  edges: Array.from({ length: count - 1 }, (_, from) => [from, from + 1]),
});

/** A Worker that answers when the test says so. */
class SlowWorker extends EventTarget {
  messages = [];
  isTerminated = false;

  postMessage(message) {
    this.messages.push(message);
  }

  answer(layout) {
    const event = new Event("message");
    event.data = { id: this.messages.at(-1).id, layout };
    this.dispatchEvent(event);
  }

  terminate() {
    this.isTerminated = true;
  }
}

function clientWith(worker, options = {}) {
  return new LayoutClient({ open: () => worker, kept: new Map(), ...options });
}

test("a Worker's layout is given, and kept for the next time", () => {
  const worker = new SlowWorker();
  const client = clientWith(worker);
  const done = [];

  client.request(shapeOf(2), (layout) => done.push(layout));
  worker.answer("first");
  client.request(shapeOf(2), (layout) => done.push(layout));

  assert.deepEqual(done, ["first", "first"]);
  assert.equal(worker.messages.length, 1);
  client.close();
});

test("a graph that is shown again, by another part of the page, needs no new layout", () => {
  const [worker, kept] = [new SlowWorker(), new Map()];
  const done = [];
  const first = clientWith(worker, { kept });
  first.request(shapeOf(2), (layout) => done.push(layout));
  worker.answer("first");
  first.close();

  clientWith(new SlowWorker(), { kept }).request(shapeOf(2), (layout) => done.push(layout));

  assert.deepEqual(done, ["first", "first"]);
});

test("only the latest of the requests that came while the Worker worked is done", () => {
  const worker = new SlowWorker();
  const client = clientWith(worker);
  const done = [];

  for (const count of [2, 3, 4]) client.request(shapeOf(count), (layout) => done.push(`${count} ${layout}`));
  worker.answer("a");
  worker.answer("b");

  assert.deepEqual(done, ["4 b"]);
  assert.deepEqual(worker.messages.map(({ shape }) => shape.sizes.length), [2, 4]);
  client.close();
});

test("a layout that is made while another one is wanted, which is known, is not shown", () => {
  const worker = new SlowWorker();
  const client = clientWith(worker);
  const done = [];

  client.request(shapeOf(2), (layout) => done.push(layout));
  worker.answer("two");
  client.request(shapeOf(3), (layout) => done.push(layout));
  client.request(shapeOf(2), (layout) => done.push(layout));
  worker.answer("three");

  assert.deepEqual(done, ["two", "two"]);
  client.close();
});

test("a late answer to a request that was given up counts for no other one", () => {
  const worker = new SlowWorker();
  const client = clientWith(worker);
  const done = [];

  client.request(shapeOf(2), (layout) => done.push(layout));
  client.giveUp();
  client.request(shapeOf(3), (layout) => done.push(layout));
  worker.messages.pop();
  worker.answer("late");

  assert.equal(done.length, 1);
  assert.equal(done[0].corners.length, 2);
  client.close();
});

test("a page without Workers lays out itself", () => {
  const client = new LayoutClient({
    kept: new Map(),
    open: () => {
      throw new TypeError("no Worker");
    },
  });
  const done = [];

  for (const count of [2, 50]) client.request(shapeOf(count), (layout) => done.push(layout.corners.length));

  assert.deepEqual(done, [2, 50]);
});

test("a Worker that fails is left, and the page lays out", () => {
  const worker = new SlowWorker();
  const client = clientWith(worker);
  const done = [];

  client.request(shapeOf(2), (layout) => done.push(layout.corners.length));
  worker.dispatchEvent(new Event("error", { cancelable: true }));
  client.request(shapeOf(3), (layout) => done.push(layout.corners.length));

  assert.deepEqual(done, [2, 3]);
  assert.ok(worker.isTerminated);
  assert.equal(worker.messages.length, 1);
});

test("a Worker that takes too long is stopped, and another one is opened for the next graph", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const workers = [];
  const client = new LayoutClient({
    kept: new Map(),
    open: () => {
      workers.push(new SlowWorker());
      return workers.at(-1);
    },
    timeoutMs: 50,
  });
  const done = [];

  client.request(shapeOf(2), (layout) => done.push(layout.corners.length));
  mock.timers.tick(50);
  client.request(shapeOf(3), (layout) => done.push(layout));
  workers[1].answer("in time");

  assert.deepEqual(done, [2, "in time"]);
  assert.deepEqual(workers.map(({ isTerminated }) => isTerminated), [true, false]);
  mock.timers.reset();
  client.close();
});
