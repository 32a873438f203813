// Who is signed in.
import { onUnauthenticated, get, send, ApiError } from "./api_client.js";
import { address, go, isOwn } from "./address.js";
import { signal } from "./vendor.js";

/** @typedef {{tenant: string, key_id: string, scopes: string[], expires_at: string}} Session */

const PATH = "/v1/auth/session";
const SIGN_IN = "/sign-in";

/** undefined: not known yet; null: nobody. @type {import("./vendor.js").Signal<Session | null | undefined>} */
export const session = signal(undefined);

onUnauthenticated(end);

/** Ask the API who is signed in; show the sign-in page if nobody is. Raises ApiError if it can't be asked. */
export async function restore() {
  try {
    session.value = (await get(PATH)).data;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
  }
}

/**
 * Sign in, and show the page that the reader wanted. Raises ApiError.
 * @param {{api_key: string} | {code: string}} credential
 */
export async function signIn(credential) {
  session.value = (await send("POST", PATH, credential)).data;
  const back = wayBack(address.value.query);
  // the API's description is a page of its own
  if (back === "/docs") location.replace(back);
  else go(back, { replaces: true });
}

/** Sign out, in the browser and on this page. */
export async function signOut() {
  await send("DELETE", PATH);
  session.value = null;
  go(SIGN_IN);
}

/**
 * Tell whether the reader may do what needs a scope.
 * @param {string} scope
 */
export function may(scope) {
  const scopes = session.value?.scopes ?? [];
  return scopes.includes(scope) || scopes.includes("admin");
}

/** Show the sign-in page with the way back to this one. */
function end() {
  session.value = null;
  if (location.pathname === SIGN_IN) return;
  const back = location.pathname + location.search;
  go(back === "/" ? SIGN_IN : `${SIGN_IN}?back=${encodeURIComponent(back)}`, { replaces: true });
}

/**
 * Return the page to show after signing in: never another host's.
 * @param {URLSearchParams} query
 */
export function wayBack(query) {
  const back = query.get("back") ?? "/";
  return isOwn(back) && !back.startsWith(SIGN_IN) ? back : "/";
}
