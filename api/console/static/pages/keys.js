// The tenant's API keys: list, make, rotate, revoke. A new key's text is shown once.
import { get } from "../api_client.js";
import { Age } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { Pages } from "../parts/pages.js";
import { HeadCell, Table } from "../parts/table.js";
import { session } from "../session.js";
import { MakeKey, NewKey, RevokeKey, RotateKey } from "../keys/dialogs.js";
import { html, useEffect, useState } from "../vendor.js";

/** @typedef {import("../keys/dialogs.js").Key} Key
 * @typedef {{kind: "make" | "rotate" | "revoke", key?: Key}} Asked */

/** @param {{query: URLSearchParams}} props */
export default function Keys({ query }) {
  const [page, setPage] = useState(/** @type {{keys: Key[], next_cursor: string | null} | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [asked, setAsked] = useState(/** @type {Asked | null} */ (null));
  const [made, setMade] = useState(/** @type {(Key & {key: string}) | null} */ (null));
  const cursor = query.get("cursor");
  const path = `/v1/keys?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
  const read = () => get(path).then(({ data }) => setPage(data), setFailure);
  useEffect(() => {
    setFailure(null);
    read();
  }, [path]);
  const close = () => setAsked(null);
  const onMade = (/** @type {Key & {key: string}} */ key) => {
    close();
    setMade(key);
    read();
  };
  const onRevoked = () => {
    close();
    read();
  };
  return html`
    <h1>Keys</h1>
    <div class="stack">
      <button type="button" class="primary" onClick=${() => setAsked({ kind: "make" })}>Make a key</button>
      <${Notice} error=${failure} />
    </div>
    ${page && page.keys.length === 0 ? html`<p class="panel">There is no key${cursor ? " behind these" : " yet"}.</p>` : null}
    ${page && page.keys.length > 0
      ? html`<${Table} caption="API keys" head=${["Key", "State", "Scopes", "Made", "Ends", "Last used", ""].map(
          (name) => html`<${HeadCell}>${name || html`<span class="visually-hidden">Actions</span>`}<//>`,
        )}>
          ${page.keys.map((key) => html`<${Row} key=${key.key_id} apiKey=${key} onAsk=${setAsked} />`)}
        <//>`
      : null}
    ${page ? html`<${Pages} query=${query} next=${page.next_cursor} />` : null}
    <${CommandLines} curl=${curlOf("GET", path)} cli=${octollmOf("keys", "list", "--tenant", session.value?.tenant ?? "")} />
    ${asked?.kind === "make" ? html`<${MakeKey} onClose=${close} onMade=${onMade} />` : null}
    ${asked?.kind === "rotate" && asked.key ? html`<${RotateKey} apiKey=${asked.key} onClose=${close} onMade=${onMade} />` : null}
    ${asked?.kind === "revoke" && asked.key ? html`<${RevokeKey} apiKey=${asked.key} onClose=${close} onRevoked=${onRevoked} />` : null}
    ${made ? html`<${NewKey} made=${made} onClose=${() => setMade(null)} />` : null}
  `;
}

/** @param {{apiKey: Key, onAsk: (asked: Asked) => void}} props */
function Row({ apiKey, onAsk }) {
  const name = apiKey.name || apiKey.key_id;
  return html`<tr>
    <td>
      <strong>${apiKey.name || "without a name"}</strong>${apiKey.is_own ? " (yours)" : ""}<br />
      <span class="mono quiet">${apiKey.key_id}</span>
    </td>
    <td><${Badge} state=${apiKey.state} /></td>
    <td class="cell-text">${apiKey.scopes.join(", ")}</td>
    <td class="cell-short"><${Age} time=${apiKey.created_at} /></td>
    <td class="cell-short">${apiKey.expires_at ? html`<${Age} time=${apiKey.expires_at} />` : "never"}</td>
    <td class="cell-short">${apiKey.last_used_at ? html`<${Age} time=${apiKey.last_used_at} />` : "never"}</td>
    <td>
      ${apiKey.state === "live"
        ? html`<div class="row">
            <button type="button" aria-label=${`Rotate ${name}`} onClick=${() => onAsk({ kind: "rotate", key: apiKey })}>Rotate</button>
            <button type="button" class="danger" aria-label=${`Revoke ${name}`} onClick=${() => onAsk({ kind: "revoke", key: apiKey })}>Revoke</button>
          </div>`
        : null}
    </td>
  </tr>`;
}
