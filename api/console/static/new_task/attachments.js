// The files of a task: dropped, pasted or chosen, uploaded at once, each with its progress and a way to remove it.
import { ApiError, get } from "../api_client.js";
import { bytes } from "../format.js";
import { html, useEffect, useRef, useState } from "../vendor.js";
import { Faults } from "./faults.js";
import { chosenFolder, filesOf } from "./folder.js";
import { refusal, upload } from "./upload.js";

/** @typedef {import("./contract.js").Attached} Attached */
/** @typedef {import("./upload.js").Upload} Upload */

/**
 * @param {{attached: Attached[], onChange: (change: (files: Attached[]) => Attached[]) => void,
 *   onBusy: (isBusy: boolean) => void, limits: {file_bytes: number, attachments: number} | null, messages: string[]}} props
 *   onBusy: called when uploads begin and when the last one ended
 */
export function Attachments({ attached, onChange, onBusy, limits, messages }) {
  const [uploads, setUploads] = useState(/** @type {Upload[]} */ ([]));
  const [trouble, setTrouble] = useState("");
  const [isOver, setOver] = useState(false);
  const queue = useUploads({ setUploads, onDone: (file) => onChange((files) => withFile(files, file)) });
  const open = uploads.filter((one) => !one.error);
  useEffect(() => onBusy(open.length > 0), [open.length > 0]);

  const add = async (/** @type {Promise<File[]>} */ reading) => {
    setTrouble("");
    try {
      const files = await reading;
      const room = (limits?.attachments ?? 20) - attached.length - open.length;
      if (files.length > room) {
        setTrouble(`A task may have ${limits?.attachments ?? 20} files: there is room for ${Math.max(0, room)} more.`);
      }
      queue.add(files.slice(0, Math.max(0, room)), limits?.file_bytes ?? null);
    } catch (error) {
      setTrouble(/** @type {Error} */ (error).message);
    }
  };
  useFilesOfPage({ onFiles: add, setOver });
  const chosen = (/** @type {any} */ event, /** @type {boolean} */ isFolder) => {
    const files = [...event.currentTarget.files];
    event.currentTarget.value = "";
    if (files.length) add(isFolder ? chosenFolder(files).then((file) => [file]) : Promise.resolve(files));
  };
  return html`<fieldset class=${`attachments ${isOver ? "over" : ""}`}>
    <legend>Files</legend>
    <p class="hint">
      Drop files or a folder anywhere on this page, paste them, or choose them. A file may have
      ${limits ? ` ${bytes(limits.file_bytes)}` : " a limited size"}; a folder becomes one .tar.gz file.
    </p>
    <div class="row">
      <${FileButton} label="Choose files" onChange=${(/** @type {any} */ event) => chosen(event, false)} />
      <${FileButton} label="Choose a folder" isFolder onChange=${(/** @type {any} */ event) => chosen(event, true)} />
    </div>
    <p class="bad-text" role="alert">${trouble}</p>
    <ul class="files">
      ${attached.map(
        (file) => html`<li key=${file.artifact_id}>
          <span class="mono">${file.filename}</span> <span class="quiet">${bytes(file.size_bytes)}</span>
          <button type="button" aria-label=${`Remove ${file.filename}`}
            onClick=${() => onChange((files) => files.filter(({ artifact_id: id }) => id !== file.artifact_id))}>Remove</button>
        </li>`,
      )}
      ${uploads.map((one) => html`<${UploadRow} key=${one.key} one=${one} onRemove=${() => queue.remove(one.key)} />`)}
    </ul>
    <${Faults} messages=${messages} />
  </fieldset>`;
}

/** @param {{one: Upload, onRemove: () => void}} props */
function UploadRow({ one, onRemove }) {
  return html`<li>
    <span class="mono">${one.name}</span>
    ${one.error
      ? html`<span class="bad-text" role="alert">${one.error}</span>`
      : html`<progress max=${one.size} value=${one.sent} aria-label=${`Uploading ${one.name}`}></progress>
          <span class="quiet">${bytes(one.sent)} of ${bytes(one.size)}</span>`}
    <button type="button" aria-label=${`Remove ${one.name}`} onClick=${onRemove}>Remove</button>
  </li>`;
}

/** @param {{label: string, isFolder?: boolean, onChange: (event: any) => void}} props */
function FileButton({ label, isFolder = false, onChange }) {
  const input = /** @type {import("../vendor.js").RefObject<HTMLInputElement | null>} */ (useRef(null));
  return html`<button type="button" onClick=${() => input.current?.click()}>${label}</button>
    <input ref=${input} type="file" class="visually-hidden" tabindex="-1" aria-hidden="true" multiple
      webkitdirectory=${isFolder || null} onChange=${onChange} />`;
}

/** Take the files that are dropped or pasted anywhere on the page. @param {{onFiles: (files: Promise<File[]>) => void, setOver: (isOver: boolean) => void}} options */
function useFilesOfPage({ onFiles, setOver }) {
  const take = useRef(onFiles);
  take.current = onFiles;
  useEffect(() => {
    const hasFiles = (/** @type {DataTransfer | null} */ transfer) => transfer?.types.includes("Files") ?? false;
    const over = (/** @type {DragEvent} */ event) => {
      if (!hasFiles(event.dataTransfer)) return;
      // else the browser leaves the page to show the file
      event.preventDefault();
      setOver(true);
    };
    const leave = (/** @type {DragEvent} */ event) => event.relatedTarget === null && setOver(false);
    const drop = (/** @type {DragEvent} */ event) => {
      setOver(false);
      if (!event.dataTransfer || !hasFiles(event.dataTransfer)) return;
      event.preventDefault();
      take.current(filesOf(event.dataTransfer));
    };
    const paste = (/** @type {ClipboardEvent} */ event) => {
      if (!event.clipboardData || !hasFiles(event.clipboardData)) return;
      event.preventDefault();
      take.current(filesOf(event.clipboardData));
    };
    const listeners = /** @type {[string, any][]} */ ([["dragover", over], ["dragleave", leave], ["drop", drop], ["paste", paste]]);
    for (const [name, listener] of listeners) addEventListener(name, listener);
    return () => listeners.forEach(([name, listener]) => removeEventListener(name, listener));
  }, []);
}

/**
 * Upload files one after the other.
 * @param {{setUploads: (change: (uploads: Upload[]) => Upload[]) => void, onDone: (file: Attached) => void}} options
 */
function useUploads({ setUploads, onDone }) {
  const done = useRef(onDone);
  done.current = onDone;
  const state = useRef({ key: 0, last: Promise.resolve(), aborters: /** @type {Map<number, AbortController>} */ (new Map()) });
  useEffect(() => () => state.current.aborters.forEach((aborter) => aborter.abort()), []);
  const change = (/** @type {number} */ key, /** @type {Partial<Upload>} */ members) =>
    setUploads((uploads) => uploads.map((one) => (one.key === key ? { ...one, ...members } : one)));
  const remove = (/** @type {number} */ key) => {
    state.current.aborters.get(key)?.abort();
    state.current.aborters.delete(key);
    setUploads((uploads) => uploads.filter((one) => one.key !== key));
  };
  const run = async (/** @type {File} */ file, /** @type {number} */ key) => {
    const aborter = state.current.aborters.get(key);
    if (!aborter) return;
    try {
      done.current(await upload(file, { signal: aborter.signal, onProgress: (sent) => change(key, { sent }) }));
      remove(key);
    } catch (error) {
      change(key, { error: /** @type {Error} */ (error).message });
      // the session has ended: this call shows the sign-in page
      if (error instanceof ApiError && error.status === 401) get("/v1/auth/session").catch(() => {});
    }
  };
  const add = (/** @type {File[]} */ files, /** @type {number | null} */ limit) => {
    for (const file of files) {
      const key = (state.current.key += 1);
      const error = refusal(file, limit);
      setUploads((uploads) => [...uploads, { key, name: file.name, size: file.size, sent: 0, error }]);
      if (error) continue;
      state.current.aborters.set(key, new AbortController());
      state.current.last = state.current.last.then(() => run(file, key));
    }
  };
  return { add, remove };
}

/** Return the files with another one: the same content counts once. @param {Attached[]} files @param {Attached} file */
function withFile(files, { artifact_id: id, filename, size_bytes: size }) {
  return files.some((one) => one.artifact_id === id) ? files : [...files, { artifact_id: id, filename, size_bytes: size }];
}
