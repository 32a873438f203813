// What each method of the client sends. Generated from /openapi.json by `make clients`: do not edit.

/** @type {import('./table.js').Table} */
export const OPERATIONS = {
  tasks: {
    list: {"verb": "GET", "path": "/v1/tasks", "query": ["status", "goal", "arm", "recipe", "from", "since", "to", "min_duration", "min_cost", "sort", "counts", "limit", "cursor"], "isIdempotent": true, "reads": "json", "credential": "token", "items": "tasks"},
    submit: {"verb": "POST", "path": "/v1/tasks", "member": "goal", "hasBody": true, "isBodyRequired": true, "isIdempotent": true, "reads": "json", "credential": "token"},
    get: {"verb": "GET", "path": "/v1/tasks/{task_id}", "parameters": ["task_id"], "query": ["wait"], "isIdempotent": true, "reads": "json", "credential": "token"},
    budget: {"verb": "GET", "path": "/v1/tasks/{task_id}/budget", "parameters": ["task_id"], "query": ["after", "limit"], "isIdempotent": true, "reads": "json", "credential": "token"},
    cancel: {"verb": "POST", "path": "/v1/tasks/{task_id}/cancel", "parameters": ["task_id"], "hasBody": true, "isIdempotent": true, "reads": "json", "credential": "token"},
    diff: {"verb": "GET", "path": "/v1/tasks/{task_id}/diff", "parameters": ["task_id"], "query": ["other", "rounds"], "isIdempotent": true, "reads": "json", "credential": "token"},
    feedback: {"verb": "POST", "path": "/v1/tasks/{task_id}/feedback", "parameters": ["task_id"], "member": "verdict", "hasBody": true, "isBodyRequired": true, "reads": "json", "credential": "token"},
    retry: {"verb": "POST", "path": "/v1/tasks/{task_id}/retry", "parameters": ["task_id"], "hasBody": true, "isIdempotent": true, "reads": "json", "credential": "token"},
    previewRetry: {"verb": "POST", "path": "/v1/tasks/{task_id}/retry", "parameters": ["task_id"], "hasBody": true, "fixed": {"dry_run": true}, "isIdempotent": true, "reads": "json", "credential": "token"},
    step: {"verb": "GET", "path": "/v1/tasks/{task_id}/steps/{step_id}", "parameters": ["task_id", "step_id"], "query": ["round", "after", "limit"], "isIdempotent": true, "reads": "json", "credential": "token"},
    issueStreamTicket: {"verb": "POST", "path": "/v1/tasks/{task_id}/stream-ticket", "parameters": ["task_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    trace: {"verb": "GET", "path": "/v1/tasks/{task_id}/trace", "parameters": ["task_id"], "query": ["after", "limit", "results"], "isIdempotent": true, "reads": "json", "credential": "token"},
    waiting: {"verb": "GET", "path": "/v1/tasks/{task_id}/waiting", "parameters": ["task_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
  },
  plans: {
    check: {"verb": "POST", "path": "/v1/plans/check", "member": "goal", "hasBody": true, "isBodyRequired": true, "isIdempotent": true, "reads": "json", "credential": "token"},
  },
  recipes: {
    list: {"verb": "GET", "path": "/v1/recipes", "isIdempotent": true, "reads": "json", "credential": "token"},
  },
  schedules: {
    list: {"verb": "GET", "path": "/v1/schedules", "query": ["name", "limit", "cursor"], "isIdempotent": true, "reads": "json", "credential": "token", "items": "schedules"},
    create: {"verb": "POST", "path": "/v1/schedules", "hasBody": true, "isBodyRequired": true, "reads": "json", "credential": "token"},
    get: {"verb": "GET", "path": "/v1/schedules/{schedule_id}", "parameters": ["schedule_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    update: {"verb": "PATCH", "path": "/v1/schedules/{schedule_id}", "parameters": ["schedule_id"], "hasBody": true, "isBodyRequired": true, "isIdempotent": true, "reads": "json", "credential": "token"},
    delete: {"verb": "DELETE", "path": "/v1/schedules/{schedule_id}", "parameters": ["schedule_id"], "isIdempotent": true, "reads": "nothing", "credential": "token"},
    backfill: {"verb": "POST", "path": "/v1/schedules/{schedule_id}/backfill", "parameters": ["schedule_id"], "hasBody": true, "isBodyRequired": true, "isIdempotent": true, "reads": "json", "credential": "token"},
    events: {"verb": "GET", "path": "/v1/schedules/{schedule_id}/events", "parameters": ["schedule_id"], "query": ["type", "limit", "before"], "isIdempotent": true, "reads": "json", "credential": "token"},
    next: {"verb": "GET", "path": "/v1/schedules/{schedule_id}/next", "parameters": ["schedule_id"], "query": ["count"], "isIdempotent": true, "reads": "json", "credential": "token"},
    pause: {"verb": "POST", "path": "/v1/schedules/{schedule_id}/pause", "parameters": ["schedule_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    resume: {"verb": "POST", "path": "/v1/schedules/{schedule_id}/resume", "parameters": ["schedule_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    trigger: {"verb": "POST", "path": "/v1/schedules/{schedule_id}/trigger", "parameters": ["schedule_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
  },
  files: {
    delete: {"verb": "DELETE", "path": "/v1/files/{artifact_id}", "parameters": ["artifact_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
  },
  approvals: {
    getByLink: {"verb": "GET", "path": "/v1/approval-links/{link}", "parameters": ["link"], "isIdempotent": true, "reads": "json", "credential": "none"},
    decideByLink: {"verb": "POST", "path": "/v1/approval-links/{link}", "parameters": ["link"], "member": "decision", "hasBody": true, "isBodyRequired": true, "isIdempotent": true, "reads": "json", "credential": "none"},
    list: {"verb": "GET", "path": "/v1/approvals", "query": ["state", "task_id", "assignee", "sort", "limit", "cursor"], "isIdempotent": true, "reads": "json", "credential": "token", "items": "approvals"},
    get: {"verb": "GET", "path": "/v1/approvals/{approval_id}", "parameters": ["approval_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    decide: {"verb": "POST", "path": "/v1/approvals/{approval_id}/decision", "parameters": ["approval_id"], "hasBody": true, "isBodyRequired": true, "isIdempotent": true, "reads": "json", "credential": "token"},
    issueLink: {"verb": "POST", "path": "/v1/approvals/{approval_id}/link", "parameters": ["approval_id"], "member": "for", "hasBody": true, "isBodyRequired": true, "reads": "json", "credential": "token"},
  },
  arms: {
    list: {"verb": "GET", "path": "/v1/arms", "isIdempotent": true, "reads": "json", "credential": "token"},
    withdraw: {"verb": "DELETE", "path": "/v1/arms/{arm_id}", "parameters": ["arm_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    heartbeat: {"verb": "POST", "path": "/v1/arms/{arm_id}/heartbeat", "parameters": ["arm_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    register: {"verb": "POST", "path": "/v1/arms/register", "member": "arm_id", "hasBody": true, "isBodyRequired": true, "isIdempotent": true, "reads": "json", "credential": "token"},
    statistics: {"verb": "GET", "path": "/v1/arms/statistics", "query": ["minutes"], "isIdempotent": true, "reads": "json", "credential": "token"},
    capabilities: {"verb": "GET", "path": "/v1/capabilities", "isIdempotent": true, "reads": "json", "credential": "token"},
  },
  deadSteps: {
    list: {"verb": "GET", "path": "/v1/dead-steps", "query": ["limit", "cursor"], "isIdempotent": true, "reads": "json", "credential": "token", "items": "steps"},
  },
  auth: {
    session: {"verb": "GET", "path": "/v1/auth/session", "isIdempotent": true, "reads": "json", "credential": "token"},
    exchangeKey: {"verb": "POST", "path": "/v1/auth/token", "isIdempotent": true, "reads": "json", "credential": "key"},
  },
  keys: {
    list: {"verb": "GET", "path": "/v1/keys", "query": ["limit", "cursor"], "isIdempotent": true, "reads": "json", "credential": "token", "items": "keys"},
    create: {"verb": "POST", "path": "/v1/keys", "member": "scopes", "hasBody": true, "isBodyRequired": true, "reads": "json", "credential": "token"},
    revoke: {"verb": "DELETE", "path": "/v1/keys/{key_id}", "parameters": ["key_id"], "isIdempotent": true, "reads": "json", "credential": "token"},
    rotate: {"verb": "POST", "path": "/v1/keys/{key_id}/rotate", "parameters": ["key_id"], "hasBody": true, "reads": "json", "credential": "token"},
  },
  auditLog: {
    list: {"verb": "GET", "path": "/v1/audit-log", "query": ["action", "outcome", "key", "from", "to", "limit", "cursor"], "isIdempotent": true, "reads": "json", "credential": "token", "items": "entries"},
  },
  operators: {
    docs: {"verb": "GET", "path": "/docs", "isIdempotent": true, "reads": "text", "credential": "none"},
    health: {"verb": "GET", "path": "/health", "isIdempotent": true, "reads": "json", "credential": "none"},
    metrics: {"verb": "GET", "path": "/metrics", "isIdempotent": true, "reads": "text", "credential": "none"},
    openapi: {"verb": "GET", "path": "/openapi.json", "isIdempotent": true, "reads": "json", "credential": "none"},
    ready: {"verb": "GET", "path": "/ready", "isIdempotent": true, "reads": "json", "answerStatuses": [503], "credential": "none"},
  },
};
