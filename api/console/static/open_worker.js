// Opens Workers: module scripts of the console's own, which the page's policy for Trusted Types lets through.

const FOLDER = "/console/";

/** @type {{createScriptURL: (path: string) => unknown}} */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("octollm", { createScriptURL: requireOwn }) ?? {
  createScriptURL: requireOwn,
};

/**
 * Start a Worker.
 * @param {string} path of a module in /console/
 * @returns {Worker}
 * @throws where the browser has no Workers, and for any other address
 */
export function openWorker(path) {
  return new Worker(/** @type {any} */ (policy.createScriptURL(path)), { type: "module" });
}

/** @param {string} path */
function requireOwn(path) {
  if (!path.startsWith(FOLDER) || !/^[a-z_/]+\.js$/.test(path)) throw new TypeError(`not a script of the console: ${path}`);
  return path;
}
