/** Asks a Worker for layouts, so that the page answers meanwhile; without a Worker the page makes them itself. */

import { openWorker } from "../open_worker.js";
import { dagre, useEffect, useState } from "../vendor.js";
import { layoutOf } from "./graph_layout.js";

const WORKER = "/console/task/layout_worker.js";
const TIMEOUT_MS = 10_000;
/** dagre takes about 50 ms for this many boxes, which the page can afford. */
const MOST_NODES_IN_PAGE = 30;
const MOST_KEPT = 8;
/** The last layouts of this page, by shape: a graph that is shown again needs no new one. @type {Map<string, Layout>} */
const KEPT = new Map();

/**
 * @typedef {import("./graph_structure.js").Shape} Shape
 * @typedef {import("./graph_layout.js").Layout} Layout
 */

/** Makes layouts, the latest request first; keeps the last ones. */
export class LayoutClient {
  /** @param {{open?: (path: string) => Worker, timeoutMs?: number, kept?: Map<string, Layout>}} [options] */
  constructor({ open = openWorker, timeoutMs = TIMEOUT_MS, kept = KEPT } = {}) {
    this.open = open;
    this.timeoutMs = timeoutMs;
    /** @type {Worker|null} */
    this.worker = null;
    this.isAlone = false;
    /** @type {{id: number, shape: Shape, key: string, done: (layout: Layout) => void}|null} */
    this.running = null;
    /** @type {LayoutClient["running"]} */
    this.next = null;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    this.count = 0;
    this.kept = kept;
  }

  /**
   * Make the layout of a shape. A request that waits is dropped when another one comes.
   * @param {Shape} shape
   * @param {(layout: Layout) => void} done is called at once where the layout is known
   */
  request(shape, done) {
    const key = JSON.stringify(shape);
    const known = this.kept.get(key);
    this.count += 1;
    this.next = null;
    if (known !== undefined) return done(known);
    this.next = { id: this.count, shape, key, done };
    if (this.running === null) this.begin();
  }

  begin() {
    this.running = this.next;
    this.next = null;
    if (this.running === null) return;
    const worker = this.theWorker();
    if (worker === null) return this.finish(this.ownLayout(this.running.shape));
    this.timer = setTimeout(() => this.giveUp(), this.timeoutMs);
    worker.postMessage({ id: this.running.id, shape: this.running.shape });
  }

  /** @returns {Worker|null} null: it can't be started */
  theWorker() {
    if (this.worker !== null || this.isAlone) return this.worker;
    try {
      this.worker = this.open(WORKER);
    } catch {
      this.isAlone = true;
      return null;
    }
    this.worker.addEventListener("message", ({ data }) => {
      if (data.id === this.running?.id) this.finish(data.layout);
    });
    this.worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.isAlone = true;
      this.giveUp();
    });
    return this.worker;
  }

  /** The Worker failed, or takes too long: it is stopped, and its layout made in columns. */
  giveUp() {
    this.worker?.terminate();
    this.worker = null;
    if (this.running !== null) this.finish(this.ownLayout(this.running.shape));
  }

  /**
   * @param {Shape} shape
   * @returns {Layout}
   */
  ownLayout(shape) {
    return layoutOf(shape.sizes.length <= MOST_NODES_IN_PAGE ? dagre : null, shape);
  }

  /** @param {Layout} layout */
  finish(layout) {
    clearTimeout(this.timer);
    const { running } = this;
    if (running === null) return;
    this.running = null;
    this.kept.set(running.key, layout);
    const oldest = this.kept.keys().next().value;
    if (this.kept.size > MOST_KEPT && oldest !== undefined) this.kept.delete(oldest);
    if (running.id === this.count) running.done(layout);
    if (this.running === null) this.begin();
  }

  close() {
    clearTimeout(this.timer);
    this.worker?.terminate();
    this.worker = null;
    this.running = null;
    this.next = null;
  }
}

/**
 * Return the structure that can be shown, with its layout: the given one, or the one before while its layout is made.
 * @template {{shape: Shape}} S
 * @param {S} structure
 * @returns {{structure: S, layout: Layout}|null} null: the first layout is being made
 */
export function useLayout(structure) {
  const [client] = useState(() => new LayoutClient());
  const [shown, setShown] = useState(/** @type {{structure: S, layout: Layout}|null} */ (null));
  useEffect(() => () => client.close(), []);
  useEffect(() => client.request(structure.shape, (layout) => setShown({ structure, layout })), [structure]);
  return shown;
}
