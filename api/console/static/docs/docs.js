// Adds a way to try each operation to the API's description, with the console's session.
import "../theme.js";
import { html, render, useEffect, useState } from "../vendor.js";
import { openDocument, readSession } from "./call.js";
import { TryIt } from "./try_it.js";

/** Who is signed in, or a way to do it. @param {{session: any}} props */
function Who({ session }) {
  if (session) return html`<span title=${`signed in with the key ${session.key_id}`}>${session.tenant}</span>`;
  return html`<a href="/sign-in?back=%2Fdocs">Sign in to try operations</a>`;
}

/** A button that opens the form of one operation. @param {{path: string, method: string, session: any}} props */
function Opener({ path, method, session }) {
  const [document, setDocument] = useState(/** @type {any} */ (null));
  const [isOpen, setOpen] = useState(false);
  const [failure, setFailure] = useState("");
  useEffect(() => {
    if (isOpen && !document) openDocument().then(setDocument, (error) => setFailure(error.message));
  }, [isOpen]);
  return html`
    <button type="button" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>Try it</button>
    <span role="alert">${failure}</span>
    ${isOpen && document
      ? html`<${TryIt} path=${path} method=${method} document=${document} session=${session} />`
      : null}
  `;
}

const session = await readSession();
const who = document.getElementById("who");
if (who) render(html`<${Who} session=${session} />`, who);
for (const article of document.querySelectorAll("article.operation")) {
  const { method = "get", path = "/" } = /** @type {HTMLElement} */ (article).dataset;
  const place = article.querySelector(".try");
  if (place) render(html`<${Opener} path=${path} method=${method} session=${session} />`, place);
}
