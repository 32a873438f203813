/** A picture that can be moved and zoomed: it scrolls like any other part of the page, by mouse, touch and keyboard. */

import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "../vendor.js";

const STEP = 1.25;
const RANGE = { least: 0.08, most: 3 };
/** Letters are not legible below. */
const LEGIBLE = 0.6;
const SCROLL = 80;

/** @typedef {{x: number, y: number, left: number, top: number}} Anchor a point of the picture that stays at its place */

/**
 * @param {{width: number, height: number, label: string, isBusy: boolean, onKey: (event: KeyboardEvent) => void,
 *   onPick: (event: MouseEvent) => void, tools?: unknown, children?: unknown}} props width, height: of the picture, in
 *   its own units
 */
export function GraphView({ width, height, label, isBusy, onKey, onPick, tools, children }) {
  const frame = /** @type {import("../vendor.js").RefObject<HTMLDivElement | null>} */ (useRef(null));
  const anchor = useRef(/** @type {Anchor|null} */ (null));
  const [zoom, setZoom] = useState(/** @type {number|null} */ (null));
  const fitting = useCallback(() => fittingZoom(frame.current, width, height), [width, height]);
  useLayoutEffect(() => {
    // before the picture is in the frame, because measuring lays out all that is
    if (zoom === null) setZoom(Math.min(1, Math.max(LEGIBLE, fitting())));
  }, []);
  useLayoutEffect(() => {
    const { current } = frame;
    const kept = anchor.current;
    anchor.current = null;
    if (current && kept) current.scrollTo(kept.x * (zoom ?? 1) - kept.left, kept.y * (zoom ?? 1) - kept.top);
  }, [zoom]);

  const scale = zoom ?? 1;
  /**
   * Zoom so that a point of the frame stays; without one, its middle.
   * @param {number} wanted
   * @param {{left: number, top: number}} [at]
   */
  function zoomTo(wanted, at) {
    const { current } = frame;
    if (!current) return;
    const { left, top } = at ?? { left: current.clientWidth / 2, top: current.clientHeight / 2 };
    anchor.current = { x: (current.scrollLeft + left) / scale, y: (current.scrollTop + top) / scale, left, top };
    setZoom(Math.min(RANGE.most, Math.max(RANGE.least, wanted)));
  }
  useWheelZoom(frame, (factor, at) => zoomTo(scale * factor, at));
  const drag = useDrag(frame);

  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = event.shiftKey ? MOVES[event.key] : undefined;
    if (move) frame.current?.scrollBy(move[0] * SCROLL, move[1] * SCROLL);
    else if (event.key === "+" || event.key === "=") zoomTo(scale * STEP);
    else if (event.key === "-") zoomTo(scale / STEP);
    else if (event.key === "0") zoomTo(fitting());
    else return onKey(event);
    event.preventDefault();
  };

  return html`
    <div class="graph-tools row" role="group" aria-label="Graph">
      <button type="button" aria-label="Zoom out" title="Zoom out (-)" onClick=${() => zoomTo(scale / STEP)}>−</button>
      <button type="button" aria-label="Zoom in" title="Zoom in (+)" onClick=${() => zoomTo(scale * STEP)}>+</button>
      <button type="button" title="Show all of it (0)" onClick=${() => zoomTo(fitting())}>Fit</button>
      <button type="button" title="As large as the page's text" onClick=${() => zoomTo(1)}>100 %</button>
      ${tools}
      ${isBusy ? html`<span class="quiet" role="status">laying out…</span>` : null}
    </div>
    <div
      class="graph-frame"
      ref=${frame}
      role="group"
      aria-label=${label}
      aria-busy=${String(isBusy)}
      onKeyDown=${onKeyDown}
      onClick=${onPick}
      ...${drag}
    >
      <svg role="presentation" width=${Math.round(width * scale)} height=${Math.round(height * scale)} viewBox=${`0 0 ${width} ${height}`}>
        ${zoom === null ? null : children}
      </svg>
    </div>
  `;
}

/** @type {Record<string, [number, number]>} */
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @param {HTMLDivElement|null} frame
 * @param {number} width
 * @param {number} height
 * @returns {number}
 */
function fittingZoom(frame, width, height) {
  if (!frame || width === 0 || height === 0) return 1;
  const most = parseFloat(getComputedStyle(frame).maxHeight) || frame.clientHeight;
  return Math.min(1, (frame.clientWidth - 2) / width, (most - 2) / height);
}

/**
 * Zoom by the wheel while Ctrl is held, which is also what a pinch on a touchpad sends; else the wheel scrolls.
 * @param {import("../vendor.js").RefObject<HTMLDivElement | null>} frame
 * @param {(factor: number, at: {left: number, top: number}) => void} onZoom
 */
function useWheelZoom(frame, onZoom) {
  const latest = useRef(onZoom);
  latest.current = onZoom;
  useEffect(() => {
    const { current } = frame;
    const onWheel = (/** @type {WheelEvent} */ event) => {
      if (!event.ctrlKey || !current) return;
      // a listener that Preact adds is passive for the wheel: the page would be zoomed
      event.preventDefault();
      const { left, top } = current.getBoundingClientRect();
      latest.current(Math.exp(-event.deltaY / 300), { left: event.clientX - left, top: event.clientY - top });
    };
    current?.addEventListener("wheel", onWheel, { passive: false });
    return () => current?.removeEventListener("wheel", onWheel);
  }, []);
}

/**
 * Move the picture with a mouse that is pressed beside the boxes; a finger scrolls by itself.
 * @param {import("../vendor.js").RefObject<HTMLDivElement | null>} frame
 */
function useDrag(frame) {
  const held = useRef(/** @type {{x: number, y: number}|null} */ (null));
  return {
    onPointerDown: (/** @type {PointerEvent} */ event) => {
      const isBeside = !(/** @type {Element} */ (event.target).closest(".graph-node"));
      if (event.pointerType !== "mouse" || event.button !== 0 || !isBeside) return;
      held.current = { x: event.clientX, y: event.clientY };
      frame.current?.setPointerCapture(event.pointerId);
    },
    onPointerMove: (/** @type {PointerEvent} */ event) => {
      if (!held.current) return;
      frame.current?.scrollBy(held.current.x - event.clientX, held.current.y - event.clientY);
      held.current = { x: event.clientX, y: event.clientY };
    },
    onPointerUp: () => {
      held.current = null;
    },
    onPointerCancel: () => {
      held.current = null;
    },
  };
}
