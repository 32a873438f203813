// Says that there is no page at this address.
import { Link } from "../address.js";
import { html } from "../vendor.js";

export default function NotFound() {
  return html`<h1>There is no such page</h1>
    <p>See <${Link} href="/">the tasks<//> or <a href="/docs">the API's description</a>.</p>`;
}
