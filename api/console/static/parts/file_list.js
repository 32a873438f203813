// Lists files of a task, to download, and to read the beginning of those that are text.
import { bytes } from "../format.js";
import { html, useState } from "../vendor.js";
import { HeadCell, Table } from "./table.js";
import { Viewer } from "./viewer.js";

const PREVIEW_BYTES = 64 * 1024;
const TEXT = /^(?:text\/|application\/(?:json|xml|x-yaml|yaml|toml|x-patch|x-diff|x-sh|javascript|sql)\b|[a-z]+\/[a-z.+-]*\+(?:json|xml)$)/;

/** @typedef {{name: string, artifact_id: string, media_type: string, size_bytes: number}} File */

/** @param {{files: File[]}} props */
export function FileList({ files }) {
  if (files.length === 0) return null;
  const head = ["Name", "Type", "Size", ""].map((name) => html`<${HeadCell} isNumber=${name === "Size"}>${name || html`<span class="visually-hidden">Preview</span>`}<//>`);
  return html`<${Table} caption="Files" head=${head}>
    ${files.map((file) => html`<${FileRow} key=${file.artifact_id} file=${file} />`)}
  <//>`;
}

/** @param {{file: File}} props */
function FileRow({ file }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [failure, setFailure] = useState("");
  const href = `/v1/files/${encodeURIComponent(file.artifact_id)}`;
  const name = file.name || file.artifact_id.slice(0, 12);
  const toggle = async () => {
    if (text !== null) return setText(null);
    try {
      setText(await beginningOf(href));
      setFailure("");
    } catch {
      setFailure("The file can't be read; it may have been deleted.");
    }
  };
  return html`
    <tr>
      <td class="mono"><a href=${href} download=${name}>${name}</a></td>
      <td>${file.media_type}</td>
      <td class="number">${bytes(file.size_bytes)}</td>
      <td>${TEXT.test(file.media_type)
        ? html`<button type="button" class="quiet" aria-expanded=${text !== null} aria-label=${`Preview ${name}`} onClick=${toggle}>Preview</button>`
        : null}${failure ? html`<span role="alert">${failure}</span>` : null}</td>
    </tr>
    ${text !== null
      ? html`<tr><td colspan="4">
          ${file.size_bytes > PREVIEW_BYTES ? html`<p class="quiet">The first ${bytes(PREVIEW_BYTES)}.</p>` : null}
          <${Viewer} value=${text} label=${name} />
        </td></tr>`
      : null}
  `;
}

/**
 * Return the beginning of a file as text; it is never anything else than text.
 * @param {string} href
 */
async function beginningOf(href) {
  const aborter = new AbortController();
  const response = await fetch(href, { credentials: "same-origin", signal: aborter.signal });
  if (!response.ok || !response.body) throw new Error(`the server answered ${response.status}`);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let [text, left] = ["", PREVIEW_BYTES];
  while (left > 0) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value.subarray(0, left), { stream: true });
    left -= value.length;
  }
  aborter.abort();
  return text;
}
