/** A Worker that lays out graphs: a message {id, shape} is answered by {id, layout}. */

import { dagre } from "../vendor.js";
import { layoutOf } from "./graph_layout.js";

self.addEventListener("message", ({ data }) => {
  /** @type {any} */ (self).postMessage({ id: data.id, layout: layoutOf(dagre, data.shape) });
});
