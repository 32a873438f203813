// The form that sends one operation: parameters, body, a question before anything is changed, and the answer.
import { duration } from "../format.js";
import { CommandLines, curlOf } from "../parts/command_lines.js";
import { Dialog } from "../parts/dialog.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor.js";
import { addressOf, send } from "./call.js";

const JSON_TYPE = "application/json";

/** @param {{path: string, method: string, document: any, session: any}} props document: the OpenAPI document */
export function TryIt({ path, method, document, session }) {
  const operation = document.paths[path][method];
  const content = operation.requestBody?.content ?? {};
  const examples = /** @type {Record<string, {value: any}>} */ (content[JSON_TYPE]?.examples ?? {});
  const [values, setValues] = useState(/** @type {Record<string, string>} */ ({}));
  const [body, setBody] = useState(() => shown(Object.values(examples)[0]?.value));
  const [isAsking, setAsking] = useState(false);
  const call = useCall();
  const address = addressOf(path, operation.parameters, values);
  const bodyFault = useMemo(() => (content[JSON_TYPE] && body.trim() ? faultOf(body) : ""), [body]);
  const file = useRef(/** @type {File | null} */ (null));
  const isWrite = method !== "get";
  const needsSession = operation["x-scope"] !== null && !session;

  const run = () => {
    setAsking(false);
    const isJson = Boolean(content[JSON_TYPE]);
    const sent = isJson ? body.trim() || null : file.current;
    const type = isJson ? JSON_TYPE : file.current?.type || "application/octet-stream";
    call.run(method, address, { body: isWrite ? sent : null, headers: isWrite && sent ? { "Content-Type": type } : {} });
  };
  const onSubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isWrite) setAsking(true);
    else run();
  };
  const id = operation.operationId;
  return html`<form class="stack" onSubmit=${onSubmit}>
    ${operation.parameters
      .filter((/** @type {any} */ one) => one.in !== "header")
      .map((/** @type {any} */ one) => html`<${Parameter} key=${`${one.in} ${one.name}`} id=${id} parameter=${one}
          value=${values[`${one.in} ${one.name}`] ?? ""}
          onInput=${(/** @type {string} */ value) => setValues((before) => ({ ...before, [`${one.in} ${one.name}`]: value }))} />`)}
    ${content[JSON_TYPE]
      ? html`<${Body} id=${id} body=${body} examples=${examples} fault=${bodyFault} onInput=${setBody} />`
      : Object.keys(content).length
        ? html`<div><label for=${`${id}-file`}>File</label>
            <input id=${`${id}-file`} type="file" onChange=${(/** @type {any} */ event) => { file.current = event.currentTarget.files[0] ?? null; }} /></div>`
        : null}
    <div class="row">
      <button class="primary" disabled=${needsSession || call.isBusy || Boolean(bodyFault)}>Send</button>
      ${call.isBusy ? html`<button type="button" onClick=${call.stop}>Stop</button>` : null}
      ${needsSession ? html`<a href="/sign-in?back=%2Fdocs">Sign in first</a>` : null}
    </div>
    <${CommandLines} curl=${curlOf(method.toUpperCase(), address, isWrite && body.trim() && !bodyFault && content[JSON_TYPE] ? JSON.parse(body) : undefined)} />
    <${Shown} answer=${call.answer} failure=${call.failure} />
    ${isAsking
      ? html`<${Dialog} title="Send it?" onClose=${() => setAsking(false)}
          actions=${html`<button type="button" class="primary" onClick=${run}>Send</button>`}>
          <p><code>${method.toUpperCase()} ${address}</code> may change something for the tenant ${session?.tenant ?? "?"}.</p>
        <//>`
      : null}
  </form>`;
}

/** Send one call at a time, and keep the last answer. */
function useCall() {
  const [answer, setAnswer] = useState(/** @type {import("./call.js").Answer | null} */ (null));
  const [failure, setFailure] = useState("");
  const [isBusy, setBusy] = useState(false);
  const aborter = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => aborter.current?.abort(), []);
  const run = async (/** @type {string} */ method, /** @type {string} */ address, /** @type {any} */ options) => {
    const own = new AbortController();
    aborter.current = own;
    setBusy(true);
    setFailure("");
    try {
      setAnswer(await send(method, address, { ...options, signal: own.signal }));
    } catch (error) {
      setFailure(own.signal.aborted ? "Stopped." : `The call failed: ${/** @type {Error} */ (error).message}`);
    } finally {
      setBusy(false);
    }
  };
  return { answer, failure, isBusy, run, stop: () => aborter.current?.abort() };
}

/** @param {{id: string, parameter: any, value: string, onInput: (value: string) => void}} props */
function Parameter({ id, parameter, value, onInput }) {
  const field = `${id}-${parameter.in}-${parameter.name}`;
  return html`<div>
    <label for=${field}>${parameter.name} <span class="hint">${parameter.in}</span></label>
    <input id=${field} value=${value} required=${parameter.in === "path"} size="32" spellcheck=${false}
      onInput=${(/** @type {any} */ event) => onInput(event.currentTarget.value)} />
  </div>`;
}

/**
 * @param {{id: string, body: string, examples: Record<string, {value: any}>, fault: string,
 *   onInput: (text: string) => void}} props
 */
function Body({ id, body, examples, fault, onInput }) {
  return html`<div>
    <div class="row">
      <label for=${`${id}-body`}>Body</label>
      ${Object.entries(examples).map(
        ([name, { value }]) => html`<button type="button" onClick=${() => onInput(shown(value))}>${name}</button>`,
      )}
    </div>
    <textarea id=${`${id}-body`} rows="10" spellcheck=${false} value=${body} aria-invalid=${fault ? "true" : null}
      onInput=${(/** @type {any} */ event) => onInput(event.currentTarget.value)}></textarea>
    <p role="status">${fault}</p>
  </div>`;
}

/** @param {{answer: import("./call.js").Answer | null, failure: string}} props */
function Shown({ answer, failure }) {
  return html`<div role="status">
    ${failure ? html`<p>${failure}</p>` : null}
    ${answer
      ? html`<p><strong>${answer.status} ${answer.statusText}</strong> in ${duration(answer.ms)}${answer.isCut ? "; only the beginning is shown" : ""}</p>
          <pre class="answer" tabindex="0" role="group" aria-label="Answer"><code>${answer.text}</code></pre>
          <details><summary>Headers</summary><pre><code>${answer.headers.map(([name, value]) => `${name}: ${value}`).join("\n")}</code></pre></details>`
      : null}
  </div>`;
}

/** @param {any} value */
function shown(value) {
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}

/** @param {string} text */
function faultOf(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `The body is no JSON: ${/** @type {Error} */ (error).message}`;
  }
}
