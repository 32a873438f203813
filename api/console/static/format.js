// Times, amounts and counts as text.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/**
 * A span of time: "0 ms", "950 ms", "12.3 s", "4 min 05 s", "2 h 03 min", "3 d 4 h".
 * @param {number | null | undefined} ms
 */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "?";
  const whole = Math.max(0, Math.round(ms));
  if (whole < 1000) return `${whole} ms`;
  if (whole < 59_950) return `${(whole / 1000).toFixed(1)} s`;
  const seconds = Math.round(whole / 1000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** @param {number} value */
function two(value) {
  return String(value).padStart(2, "0");
}

/**
 * How long ago a time was, roughly: "now", "3 s ago", "5 min ago", "2 h ago", "4 d ago"; "in 5 min" for a later one.
 * @param {string | number | null | undefined} time ISO 8601, or milliseconds since 1970
 * @param {number} [nowMs]
 */
export function age(time, nowMs = Date.now()) {
  const at = typeof time === "string" ? Date.parse(time) : time;
  if (at === null || at === undefined || Number.isNaN(at)) return "?";
  const span = Math.abs(nowMs - at);
  if (span < 1000) return "now";
  const text = rough(span / 1000);
  return at > nowMs ? `in ${text}` : `${text} ago`;
}

/** @param {number} seconds */
function rough(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/**
 * An amount of dollars; "?" for an unknown one: "$0", "$0.0004", "$1.23", "$1,234.50".
 * @param {number | string | null | undefined} dollars
 */
export function money(dollars) {
  if (dollars === null || dollars === undefined || dollars === "") return "?";
  const amount = Number(dollars);
  if (!Number.isFinite(amount)) return "?";
  if (amount === 0) return "$0";
  if (Math.abs(amount) < 0.0001) return amount < 0 ? "-<$0.0001" : "<$0.0001";
  const sign = amount < 0 ? "-" : "";
  const digits = Math.abs(amount) < 0.1 ? 4 : 2;
  return `${sign}$${grouped(Math.abs(amount).toFixed(digits))}`;
}

/** @param {string} digits */
function grouped(digits) {
  const [whole = "", part] = digits.split(".");
  const thousands = Number(whole).toLocaleString("en-US");
  return part === undefined ? thousands : `${thousands}.${part}`;
}

/**
 * A number of bytes: "12 B", "1.5 kB" (1 kB is 1000 bytes).
 * @param {number | null | undefined} n
 */
export function bytes(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return "?";
  let value = n;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/**
 * A time in the reader's zone, for titles: "2026-11-29 14:03:07.123".
 * @param {string | number | null | undefined} time ISO 8601, or milliseconds since 1970
 */
export function clock(time) {
  if (time === null || time === undefined) return "?";
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return "?";
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const ms = String(at.getMilliseconds()).padStart(3, "0");
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${ms}`;
}

/**
 * A count with its noun: "1 step", "2 steps", "1,200 steps".
 * @param {number} n
 * @param {string} noun singular
 * @param {string} [plural]
 */
export function count(n, noun, plural = `${noun}s`) {
  return `${n.toLocaleString("en-US")} ${n === 1 ? noun : plural}`;
}
