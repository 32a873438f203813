// The console's shell: the navigation, who is signed in, and the page at the current address.
import { address, Link } from "./address.js";
import { ApiError } from "./api_client.js";
import { pageAt, pages } from "./pages.js";
import { Notice } from "./parts/notice.js";
import { may, restore, session, signOut } from "./session.js";
import { chooseTheme, theme, THEMES } from "./theme.js";
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./vendor.js";

const RETRY_MS = 3000;

/** The whole page. */
function Shell() {
  const { path, query } = address.value;
  const { page, params } = pageAt(path);
  const main = /** @type {import("./vendor.js").RefObject<HTMLElement | null>} */ (useRef(null));
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${page.title} - OctoLLM`;
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
  }, [path]);
  const isPublic = page.path === "/sign-in";
  return html`
    <a class="skip" href="#content" onClick=${(/** @type {Event} */ event) => {
      event.preventDefault();
      main.current?.focus();
    }}>Skip to the content</a>
    <${Head} />
    <main id="content" class="page" tabindex="-1" ref=${main}>
      ${session.value || isPublic
        ? html`<${Loaded} key=${page.load} page=${page} params=${params} query=${query} />`
        : html`<${Restoring} />`}
    </main>
  `;
}

/** Asks who is signed in, again and again while the API can't be reached. */
function Restoring() {
  const [failure, setFailure] = useState(/** @type {ApiError | null} */ (null));
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const ask = () =>
      restore().catch((error) => {
        setFailure(error);
        timer = setTimeout(ask, Math.max(RETRY_MS, (error.retryAfter ?? 0) * 1000));
      });
    ask();
    return () => clearTimeout(timer);
  }, []);
  return failure ? html`<${Notice} error=${failure} />` : null;
}

/** @param {{page: import("./pages.js").Page, params: Record<string, string>, query: URLSearchParams}} props */
function Loaded({ page, params, query }) {
  const [Page, setPage] = useState(/** @type {any} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [error] = useErrorBoundary((fault) => console.error(fault));
  useEffect(() => {
    let isShown = true;
    page.load().then(
      (module) => isShown && setPage(() => module.default),
      (fault) => isShown && setFailure(fault),
    );
    return () => {
      isShown = false;
    };
  }, []);
  if (failure) {
    return html`<${Notice} error=${new Error("This page can't be loaded. Reload it; the server may have been updated.")} />`;
  }
  if (error) {
    return html`<${Notice} error=${new Error("The console failed to show this page; the browser's console has the error. Reload it.")} />`;
  }
  return Page ? html`<${Page} params=${params} query=${query} />` : null;
}

function Head() {
  const who = session.value;
  const { path } = address.value;
  return html`
    <header class="shell-head">
      <${Link} class="brand" href="/">OctoLLM<//>
      ${who
        ? html`<nav aria-label="Main">
            <ul>
              ${pages
                .filter((page) => page.nav && (!page.scope || may(page.scope)))
                .map((page) => html`<li><${Link} href=${page.path} aria-current=${isAt(page.path, path) ? "page" : null}>${page.nav}<//></li>`)}
            </ul>
          </nav>`
        : null}
      <div class="who">
        <a href="/docs">API</a>
        <${ThemeChoice} />
        ${who
          ? html`<span title=${`signed in with the key ${who.key_id}`}>${who.tenant}</span>
              <button onClick=${() => signOut()}>Sign out</button>`
          : null}
      </div>
    </header>
  `;
}

/** @param {string} pagePath @param {string} path */
function isAt(pagePath, path) {
  return path === pagePath || path.startsWith(`${pagePath}/`) || (path === "/" && pagePath === "/tasks");
}

function ThemeChoice() {
  return html`
    <select
      aria-label="Colours"
      value=${theme.value}
      onChange=${(/** @type {any} */ event) => chooseTheme(event.currentTarget.value)}
    >
      ${THEMES.map((name) => html`<option value=${name}>${name}</option>`)}
    </select>
  `;
}

const root = document.getElementById("console");
if (root) {
  root.replaceChildren();
  render(html`<${Shell} />`, root);
}
