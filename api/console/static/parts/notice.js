// Says in place what went wrong, or what to know; screen readers announce it.
import { html } from "../vendor.js";

/**
 * @param {{error?: Error | null, tone?: "info" | "warning", children?: unknown}} props error: shown instead of children
 */
export function Notice({ error, tone = "info", children }) {
  if (!error && !children) return null;
  const look = error ? "error" : tone;
  return html`<div class=${`notice ${look}`} role=${error ? "alert" : "status"}>
    ${error ? html`<p>${error.message}</p>` : children}
  </div>`;
}
