// Signs in by an API key, or by the code in the link that `octollm up` prints.
import { Notice } from "../parts/notice.js";
import { signIn } from "../session.js";
import { html, useEffect, useState } from "../vendor.js";

export default function SignIn() {
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [isBusy, setBusy] = useState(false);

  const attempt = async (/** @type {{api_key: string} | {code: string}} */ credential) => {
    setBusy(true);
    setFailure(null);
    try {
      await signIn(credential);
    } catch (error) {
      setFailure(/** @type {Error} */ (error));
      setBusy(false);
    }
  };

  useEffect(() => {
    const code = takeCode();
    if (code) attempt({ code });
  }, []);

  const onSubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    attempt({ api_key: String(form.get("api_key") ?? "").trim() });
  };
  return html`
    <h1>Sign in</h1>
    <${Notice} error=${failure} />
    <form class="stack panel" onSubmit=${onSubmit}>
      <label for="api-key">API key</label>
      <input id="api-key" name="api_key" type="password" autocomplete="current-password" required size="40"
        aria-describedby="api-key-hint" />
      <p id="api-key-hint" class="hint">
        <code>octollm keys create --tenant NAME --scopes all</code> makes one. <code>octollm up</code> prints a link
        that signs in without a key, once.
      </p>
      <button class="primary" disabled=${isBusy}>Sign in</button>
    </form>
  `;
}

/** Return the code in the address's fragment, which no server sees, and remove it from the address. */
function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) history.replaceState(null, "", location.pathname + location.search);
  return code;
}
