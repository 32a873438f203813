// The dialogs of the page of keys: make, rotate, revoke, and the one that shows a new key's text.
import { send } from "../api_client.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { CopyButton } from "../parts/copy_button.js";
import { Dialog } from "../parts/dialog.js";
import { Notice } from "../parts/notice.js";
import { session } from "../session.js";
import { html, useId, useState } from "../vendor.js";

/** @typedef {{key_id: string, name: string, environment: string, scopes: string[], state: string, is_own: boolean,
 *   created_at: string, expires_at: string | null, revoked_at: string | null, last_used_at: string | null}} Key
 * @typedef {Key & {key: string}} MadeKey */

const SCOPES = [
  "task:submit", "task:read", "task:cancel", "task:critical", "task:approve", "arm:list", "arm:register", "arm:admin",
  "admin",
];
const USUAL = ["task:submit", "task:read", "task:cancel", "arm:list"];

/** @param {{onClose: () => void, onMade: (key: MadeKey) => void}} props */
export function MakeKey({ onClose, onMade }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState(USUAL);
  const [days, setDays] = useState(90);
  const { failure, isBusy, attempt } = useCall(onMade);
  const id = useId();
  const body = { name, scopes, expires_days: days };
  const toggle = (/** @type {string} */ scope) =>
    setScopes(SCOPES.filter((one) => scopes.includes(one) !== (one === scope)));
  return html`<${Dialog} title="Make a key" onClose=${onClose} actions=${html`
    <button class="primary" type="submit" form=${id} disabled=${isBusy || scopes.length === 0}>Make the key</button>`}>
    <${Notice} error=${failure} />
    <form id=${id} class="stack" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      attempt("POST", "/v1/keys", body);
    }}>
      <label>Name <span class="hint">for people, such as the program that uses it</span>
        <input value=${name} maxlength="200" onInput=${(/** @type {any} */ event) => setName(event.currentTarget.value)} />
      </label>
      <fieldset class="scopes">
        <legend>Scopes</legend>
        ${SCOPES.map((scope) => html`<label class="scope">
          <input type="checkbox" checked=${scopes.includes(scope)} onChange=${() => toggle(scope)} /> ${scope}
        </label>`)}
      </fieldset>
      ${scopes.includes("admin") ? html`<${Notice} tone="warning">The scope admin includes all others, and may make and revoke keys.<//>` : null}
      <label>Ends after (days) <span class="hint">0: never</span>
        <input type="number" min="0" max="36500" required value=${days} onInput=${(/** @type {any} */ event) => setDays(event.currentTarget.valueAsNumber || 0)} />
      </label>
    </form>
    <${CommandLines} curl=${curlOf("POST", "/v1/keys", body)} cli=${createLine(name, scopes, days)} />
  <//>`;
}

/** @param {{apiKey: Key, onClose: () => void, onMade: (key: MadeKey) => void}} props */
export function RotateKey({ apiKey, onClose, onMade }) {
  const [hours, setHours] = useState(24);
  const { failure, isBusy, attempt } = useCall(onMade);
  const path = `/v1/keys/${apiKey.key_id}/rotate`;
  const body = { overlap_hours: hours };
  return html`<${Dialog} title=${`Rotate ${apiKey.name || apiKey.key_id}`} onClose=${onClose} actions=${html`
    <button type="button" class="primary" disabled=${isBusy} onClick=${() => attempt("POST", path, body)}>Rotate</button>`}>
    <${Notice} error=${failure} />
    <p>A new key gets the same scopes and lifetime. The old one ends after the overlap.</p>
    <label>Overlap (hours)
      <input type="number" min="0" max="2160" value=${hours} onInput=${(/** @type {any} */ event) => setHours(event.currentTarget.valueAsNumber || 0)} />
    </label>
    <${CommandLines} curl=${curlOf("POST", path, body)} cli=${octollmOf("keys", "rotate", apiKey.key_id, "--overlap-hours", String(hours))} />
  <//>`;
}

/** @param {{apiKey: Key, onClose: () => void, onRevoked: () => void}} props */
export function RevokeKey({ apiKey, onClose, onRevoked }) {
  const { failure, isBusy, attempt } = useCall(onRevoked);
  const path = `/v1/keys/${apiKey.key_id}`;
  return html`<${Dialog} title=${`Revoke ${apiKey.name || apiKey.key_id}?`} onClose=${onClose} actions=${html`
    <button type="button" class="danger" disabled=${isBusy} onClick=${() => attempt("DELETE", path)}>Revoke</button>`}>
    <${Notice} error=${failure} />
    <p>The key and all tokens and sessions that were made with it are refused within five seconds. This can't be undone.</p>
    ${apiKey.is_own ? html`<${Notice} tone="warning">You are signed in with this key: you will be signed out.<//>` : null}
    <${CommandLines} curl=${curlOf("DELETE", path)} cli=${octollmOf("keys", "revoke", apiKey.key_id)} />
  <//>`;
}

/** @param {{made: MadeKey, onClose: () => void}} props */
export function NewKey({ made, onClose }) {
  return html`<${Dialog} title="The new key" onClose=${onClose}>
    <${Notice} tone="warning">Copy it now: it is not stored and can't be shown again.<//>
    <div class="row">
      <code class="mono new-key">${made.key}</code>
      <${CopyButton} text=${made.key} label="Copy the key" />
    </div>
  <//>`;
}

/**
 * A call whose result is handed on, and whose failure is shown.
 * @param {(data: any) => void} onDone
 */
function useCall(onDone) {
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [isBusy, setBusy] = useState(false);
  const attempt = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {any} */ body = undefined) => {
    setBusy(true);
    setFailure(null);
    try {
      onDone((await send(method, path, body)).data);
    } catch (error) {
      setFailure(/** @type {Error} */ (error));
      setBusy(false);
    }
  };
  return { failure, isBusy, attempt };
}

/** @param {string} name @param {string[]} scopes @param {number} days */
function createLine(name, scopes, days) {
  const end = days ? ["--expires-days", String(days)] : ["--no-expiry"];
  const label = name ? ["--name", name] : [];
  return octollmOf("keys", "create", "--tenant", session.value?.tenant ?? "", "--scopes", scopes.join(","), ...label, ...end);
}
