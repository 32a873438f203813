/**
 * Maps times to pixels: in proportion, except that long stretches in which nothing begins or ends are compressed, so that
 * a burst beside them stays legible. Times are milliseconds since 1970, or since any other moment.
 */

/** The width of a compressed stretch. */
export const GAP_PIXELS = 48;
/** Compressed stretches may take this share of the width. */
const MOST_GAPS = 0.4;
/** Waits are compressed while they take more than this share of the time that is drawn in proportion. */
const MOST_IDLE = 0.8;
/** A stretch in which something runs is compressed only if all else would be narrower than this, and ... */
const LEAST_PIXELS = 4;
/** ... only if it is at least this long: the proportions of runs tell where the time went. */
const LEAST_RUN_MS = 60_000;

/**
 * @typedef {object} Span
 * @property {number} from
 * @property {number} to
 * @property {boolean} isRun false: something waits
 *
 * @typedef {object} Stretch a time in which nothing begins or ends
 * @property {number} from
 * @property {number} to
 * @property {boolean} isIdle nothing runs in it
 *
 * @typedef {object} Piece a part of the axis
 * @property {number} from
 * @property {number} to
 * @property {number} x1
 * @property {number} x2
 * @property {boolean} isGap it is compressed
 *
 * @typedef {object} TimeScale
 * @property {number} from
 * @property {number} to
 * @property {number} width
 * @property {number} pixelsPerMs outside of the gaps
 * @property {Piece[]} pieces they follow each other without a hole
 * @property {Piece[]} gaps those that are compressed
 */

/**
 * Return the scale of the times `from` to `to` over `width` pixels.
 * @param {readonly Span[]} spans what is drawn; only what lies between `from` and `to` counts
 * @param {{from: number, to: number, width: number}} range
 * @returns {TimeScale}
 */
export function timeScale(spans, { from, to, width }) {
  const end = Math.max(to, from + 1);
  const stretches = stretchesOf(spans, { from, to: end });
  const gaps = chosenGaps(stretches, { total: end - from, width });
  const compressed = [...gaps].reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const pixelsPerMs = (width - gaps.size * GAP_PIXELS) / (end - from - compressed);
  const pieces = piecesOf(stretches, gaps, pixelsPerMs);
  return { from, to: end, width, pixelsPerMs, pieces, gaps: pieces.filter((piece) => piece.isGap) };
}

/**
 * Tell whether two scales map all times alike.
 * @param {TimeScale} one
 * @param {TimeScale} other
 * @returns {boolean}
 */
export function isSameScale(one, other) {
  if (one.width !== other.width || one.pieces.length !== other.pieces.length) return false;
  return one.pieces.every((piece, index) => {
    const match = other.pieces[index];
    return piece.from === match?.from && piece.to === match.to && piece.x1 === match.x1 && piece.x2 === match.x2;
  });
}

/**
 * Return the pixel of a time; times before and after the axis are at its ends.
 * @param {TimeScale} scale
 * @param {number} time
 * @returns {number}
 */
export function xOf(scale, time) {
  const piece = pieceAt(scale, (candidate) => candidate.to >= time);
  const share = (time - piece.from) / (piece.to - piece.from);
  return piece.x1 + Math.min(1, Math.max(0, share)) * (piece.x2 - piece.x1);
}

/**
 * Return the time of a pixel, the reverse of xOf.
 * @param {TimeScale} scale
 * @param {number} x
 * @returns {number}
 */
export function timeAt(scale, x) {
  const piece = pieceAt(scale, (candidate) => candidate.x2 >= x);
  const share = (x - piece.x1) / (piece.x2 - piece.x1);
  return piece.from + Math.min(1, Math.max(0, share)) * (piece.to - piece.from);
}

/**
 * Return the stretches between two moments at which something begins or ends, without a hole from `from` to `to`.
 * @param {readonly Span[]} spans
 * @param {{from: number, to: number}} range
 * @returns {Stretch[]}
 */
export function stretchesOf(spans, { from, to }) {
  /** @type {Map<number, number>} how many more runs there are from this moment on */
  const changes = new Map([
    [from, 0],
    [to, 0],
  ]);
  const change = (/** @type {number} */ at, /** @type {number} */ by) => changes.set(at, (changes.get(at) ?? 0) + by);
  for (const span of spans) {
    if (span.to < from || span.from > to) continue;
    change(Math.max(span.from, from), span.isRun ? 1 : 0);
    change(Math.min(span.to, to), span.isRun ? -1 : 0);
  }
  const moments = [...changes.keys()].sort((left, right) => left - right);
  let running = 0;
  return moments.slice(0, -1).map((moment, index) => {
    running += changes.get(moment) ?? 0;
    return { from: moment, to: moments[index + 1] ?? to, isIdle: running === 0 };
  });
}

/**
 * @param {Stretch[]} stretches
 * @param {{total: number, width: number}} axis
 * @returns {Set<Stretch>} those that are compressed
 */
function chosenGaps(stretches, { total, width }) {
  const most = Math.floor((width * MOST_GAPS) / GAP_PIXELS);
  const length = (/** @type {Stretch} */ stretch) => stretch.to - stretch.from;
  /** @type {Set<Stretch>} */
  const chosen = new Set();
  let left = total;
  let idle = stretches.reduce((sum, stretch) => sum + (stretch.isIdle ? length(stretch) : 0), 0);
  for (const stretch of [...stretches].sort((one, other) => length(other) - length(one))) {
    if (chosen.size >= most) break;
    const rest = left - length(stretch);
    if (rest <= 0) continue;
    const isWide = (length(stretch) / left) * (width - chosen.size * GAP_PIXELS) > 2 * GAP_PIXELS;
    const hides = (rest / left) * width < LEAST_PIXELS && length(stretch) >= LEAST_RUN_MS;
    if (!(stretch.isIdle ? isWide && idle / left > MOST_IDLE : hides)) continue;
    chosen.add(stretch);
    left = rest;
    if (stretch.isIdle) idle -= length(stretch);
  }
  return chosen;
}

/**
 * @param {Stretch[]} stretches
 * @param {Set<Stretch>} gaps
 * @param {number} pixelsPerMs
 * @returns {Piece[]} neighbours that are drawn in proportion are one piece
 */
function piecesOf(stretches, gaps, pixelsPerMs) {
  /** @type {Piece[]} */
  const pieces = [];
  let x = 0;
  for (const stretch of stretches) {
    const isGap = gaps.has(stretch);
    const x2 = x + (isGap ? GAP_PIXELS : (stretch.to - stretch.from) * pixelsPerMs);
    const last = pieces.at(-1);
    if (last && !last.isGap && !isGap) Object.assign(last, { to: stretch.to, x2 });
    else pieces.push({ from: stretch.from, to: stretch.to, x1: x, x2, isGap });
    x = x2;
  }
  return pieces;
}

/**
 * @param {TimeScale} scale
 * @param {(piece: Piece) => boolean} reaches
 * @returns {Piece} the first one that reaches the place, else the last one
 */
function pieceAt(scale, reaches) {
  let low = 0;
  let high = scale.pieces.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (reaches(/** @type {Piece} */ (scale.pieces[middle]))) high = middle;
    else low = middle + 1;
  }
  return /** @type {Piece} */ (scale.pieces[low]);
}
