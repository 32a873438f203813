// The console's pages: one line each. A page is a module whose default export is its component.

/**
 * @typedef {{path: string, title: string, nav?: string, scope?: string,
 *   load: () => Promise<{default: (props: PageProps) => unknown}>}} Page
 *   path: a part that begins with ":" matches any one part; nav: its name in the navigation, where it has a place
 *   there; scope: without it the navigation leaves the page out
 * @typedef {{params: Record<string, string>, query: URLSearchParams}} PageProps
 */

/** @type {Page[]} */
export const pages = [
  { path: "/tasks", title: "Tasks", nav: "Tasks", load: () => import("./pages/tasks.js") },
  { path: "/", title: "Tasks", load: () => import("./pages/tasks.js") },
  { path: "/tasks/:id", title: "Task", load: () => import("./pages/task.js") },
  { path: "/approvals", title: "Approvals", nav: "Approvals", scope: "task:read", load: () => import("./pages/approvals.js") },
  { path: "/arms", title: "Arms", nav: "Arms", scope: "arm:list", load: () => import("./pages/arms.js") },
  { path: "/new", title: "New task", nav: "New task", scope: "task:submit", load: () => import("./pages/new_task.js") },
  { path: "/schedules", title: "Schedules", nav: "Schedules", scope: "task:read", load: () => import("./pages/schedules.js") },
  { path: "/schedules/:id", title: "Schedule", load: () => import("./pages/schedule.js") },
  { path: "/compare", title: "Compare", nav: "Compare", scope: "task:read", load: () => import("./pages/compare.js") },
  { path: "/dead-steps", title: "Dead steps", nav: "Dead steps", scope: "task:read", load: () => import("./pages/dead_steps.js") },
  { path: "/keys", title: "Keys", nav: "Keys", scope: "admin", load: () => import("./pages/keys.js") },
  { path: "/audit-log", title: "Audit log", nav: "Audit log", scope: "admin", load: () => import("./pages/audit_log.js") },
  { path: "/sign-in", title: "Sign in", load: () => import("./pages/sign_in.js") },
];

/** @type {Page} */
const NOT_FOUND = { path: "", title: "No such page", load: () => import("./pages/not_found.js") };

/**
 * Return the page at a path and what its parameters are there.
 * @param {string} path
 * @returns {{page: Page, params: Record<string, string>}}
 */
export function pageAt(path) {
  for (const page of pages) {
    const params = matched(page.path, path);
    if (params) return { page, params };
  }
  return { page: NOT_FOUND, params: {} };
}

/**
 * @param {string} pattern
 * @param {string} path
 */
function matched(pattern, path) {
  const wanted = pattern.split("/");
  const given = (path.length > 1 ? path.replace(/\/$/, "") : path).split("/");
  if (wanted.length !== given.length) return null;
  /** @type {Record<string, string>} */
  const params = {};
  for (const [index, part] of wanted.entries()) {
    const value = given[index] ?? "";
    if (part.startsWith(":") && value) params[part.slice(1)] = decoded(value);
    else if (part !== value) return null;
  }
  return params;
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
