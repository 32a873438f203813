// The methods of the client. Generated from /openapi.json by `make clients`: do not edit.

import * as T from "./types.js";

/** Sent with a POST, so that it has its effect once however often it arrives; made anew if left out. */
export interface Once {
  idempotencyKey?: string;
}

/** Submit a goal, follow its task, and act on it. */
export interface Tasks {
  /** List the tenant's tasks in pages; a filtered page may be short though others follow it. */
  list(options?: { status?: string | null; goal?: string | null; arm?: string | null; recipe?: string | null; from?: string | null; since?: string | null; to?: string | null; min_duration?: number | null; min_cost?: number | null; sort?: "newest" | "oldest" | "longest" | "dearest" | "updated"; counts?: boolean; limit?: number; cursor?: string | null }): Promise<T.TaskPage>;
  /** The items of all pages of `list`; `limit` is the size of a page. */
  iterate(options?: { status?: string | null; goal?: string | null; arm?: string | null; recipe?: string | null; from?: string | null; since?: string | null; to?: string | null; min_duration?: number | null; min_cost?: number | null; sort?: "newest" | "oldest" | "longest" | "dearest" | "updated"; counts?: boolean; limit?: number; cursor?: string | null }): AsyncGenerator<T.TaskSummary, void>;
  /** Submit a task: 202 with links to follow it; 200 if it was submitted before with the same idempotency key. */
  submit(goal: string, options?: T.TaskOptions & Once): Promise<T.Accepted>;
  /** Return a task's status and result; with `wait`, as soon as it ends or changes, at the latest after `wait` s. */
  get(task_id: string, options?: { wait?: number }): Promise<T.Status>;
  /** Return what each of a task's calls to models reserved and was charged, with the limits of its budget. */
  budget(task_id: string, options?: { after?: number; limit?: number }): Promise<T.Budget>;
  /** Cancel a task with a reason. */
  cancel(task_id: string, options?: T.CancelRequest & Once): Promise<T.Cancelled>;
  /** Compare two tasks (`other`), or two rounds (`rounds`): contract, plan, steps, verdict, cost and time. */
  diff(task_id: string, options?: { other?: string | null; rounds?: string | null }): Promise<T.Difference>;
  /** Report that a task got a wrong cached result: the result is no longer reused, and its layer may be disabled. */
  feedback(task_id: string, verdict: "wrong_hit", options?: T.FeedbackOptions & Once): Promise<T.FeedbackReply>;
  /** Run a finished task again as a new task; finished steps are reused, except `from_step` and what depends on it. */
  retry(task_id: string, options?: T.RetryOptions & Once): Promise<T.Accepted>;
  /** Say what `retry` would do; nothing is written. */
  previewRetry(task_id: string, options?: T.RetryOptions & Once): Promise<T.RetryPreview>;
  /** Return a step with its inputs, attempts, output, calls to models, decisions and log. */
  step(task_id: string, step_id: string, options?: { round?: number | null; after?: number; limit?: number }): Promise<T.StepDetails>;
  /** Return a ticket that opens this task's stream once, in a URL: for browsers, which can't send headers. */
  issueStreamTicket(task_id: string, options?: Once): Promise<T.Ticket>;
  /** Return a task's contract, its steps' results and the decisions about it. */
  trace(task_id: string, options?: { after?: number; limit?: number; results?: boolean }): Promise<T.Trace>;
  /** Say for the task and each of its open steps what it waits for, who must act, and until when. */
  waiting(task_id: string): Promise<T.Waiting>;
}

/** See what a submission would do, without a task. */
export interface Plans {
  /** Check a task contract, with or without a plan, as its submission does; nothing is stored and no task is made. */
  check(goal: string, options?: T.TaskOptions & Once): Promise<T.Checked>;
}

/** Plans that need no model. */
export interface Recipes {
  /** List the recipes: plans without a model, which a task names in `recipe` or chooses by its goal's words. */
  list(): Promise<T.RecipeList>;
}

/** Contracts that are submitted again and again. */
export interface Schedules {
  /** List the tenant's schedules, newest first, in pages. */
  list(options?: { name?: string | null; limit?: number; cursor?: string | null }): Promise<T.SchedulePage>;
  /** The items of all pages of `list`; `limit` is the size of a page. */
  iterate(options?: { name?: string | null; limit?: number; cursor?: string | null }): AsyncGenerator<T.Schedule, void>;
  /** Save a schedule: its contract is checked now as POST /v1/tasks checks it, and again at each time. */
  create(options: T.ScheduleRequest & Once): Promise<T.Schedule>;
  /** Return a schedule. */
  get(schedule_id: string): Promise<T.Schedule>;
  /** Replace members of a schedule; new times count from now. Needs the scope task:read too. */
  update(schedule_id: string, options?: T.ScheduleChange): Promise<T.Schedule>;
  /** Delete a schedule with its events. Its tasks stay, and open ones go on. */
  delete(schedule_id: string): Promise<void>;
  /** Start a task for each time of the past that has none, one after the other (at once if overlap is allow). */
  backfill(schedule_id: string, options: T.BackfillRequest & Once): Promise<T.Backfill>;
  /** Return what happened to a schedule: fires with their tasks and outcomes, skipped times, pauses; newest first. */
  events(schedule_id: string, options?: { type?: string | null; limit?: number; before?: number | null }): Promise<T.ScheduleEventPage>;
  /** Return the next times of a schedule, without their jitter, also of a paused one. */
  next(schedule_id: string, options?: { count?: number }): Promise<T.Times>;
  /** Pause a schedule; its open tasks go on. Calling twice is safe. Needs the scope task:read too. */
  pause(schedule_id: string, options?: Once): Promise<T.Schedule>;
  /** End a pause: what was missed is not caught up, and the tasks have the rights of the caller's key. */
  resume(schedule_id: string, options?: Once): Promise<T.Schedule>;
  /** Fire a schedule now, also a paused one: 202 with the event, whose task started, waits or was skipped. */
  trigger(schedule_id: string, options?: Once): Promise<T.ScheduleEvent>;
}

/** Files that tasks read, and files of their results. */
export interface Files {
  /** Delete a file and free its bytes; 409 while an open task needs it. */
  delete(artifact_id: string): Promise<T.DeletedFile>;
}

/** What waits for a person, and decisions. */
export interface Approvals {
  /** Return the proposal of a link. It decides nothing, however often a mail program or a chat opens it. */
  getByLink(link: string): Promise<T.LinkedApproval>;
  /** Decide the proposal that a link shows; the decision records for whom the link was made. 409 as for a token. */
  decideByLink(link: string, decision: "approve" | "edit" | "reject" | "answer" | "run_again" | "accept", options?: T.ChoiceOptions & Once): Promise<T.LinkedApproval>;
  /** List the tenant's approvals in pages: newest first, or with sort=expiry what expires first. */
  list(options?: { state?: "pending" | "approved" | "edited" | "rejected" | "answered" | "run_again" | "accepted" | "expired" | "withdrawn" | null; task_id?: string | null; assignee?: string | null; sort?: "newest" | "expiry"; limit?: number; cursor?: string | null }): Promise<T.ApprovalPage>;
  /** The items of all pages of `list`; `limit` is the size of a page. */
  iterate(options?: { state?: "pending" | "approved" | "edited" | "rejected" | "answered" | "run_again" | "accepted" | "expired" | "withdrawn" | null; task_id?: string | null; assignee?: string | null; sort?: "newest" | "expiry"; limit?: number; cursor?: string | null }): AsyncGenerator<T.Approval, void>;
  /** Return one approval: what is about to run, who should decide until when, and the decision. */
  get(approval_id: string): Promise<T.Approval>;
  /** Decide an approval. Of several decisions the first wins; the others get 409 with who decided and when. */
  decide(approval_id: string, options: T.DecisionRequest & Once): Promise<T.Approval>;
  /** Return a link with which a person without a token may see this proposal and decide it once. */
  issueLink(approval_id: string, for_: string, options?: T.LinkOptions & Once): Promise<T.Link>;
}

/** What does the steps: their state, and registration of your own. */
export interface Arms {
  /** List the arms that the caller's tenant may use, with its declarations; all but people, who have no workers. */
  list(): Promise<T.ArmList>;
  /** Take a registered arm of the caller's tenant out of use; its open steps fail with arm_unavailable. */
  withdraw(arm_id: string): Promise<T.Withdrawn>;
  /** Keep a registered arm of the caller's tenant available; `arm_id` is the one that it was registered with. */
  heartbeat(arm_id: string, options?: Once): Promise<T.Heartbeat>;
  /** Replace an arm's declared status and metadata; with `url`, register an HTTP arm or repeat its registration. */
  register(arm_id: string, options?: T.ArmRegistrationOptions & Once): Promise<T.Registered>;
  /** Return what each arm does now and did in each of the last minutes; an answer may be 2 s old. */
  statistics(options?: { minutes?: number }): Promise<T.ArmStatisticsList>;
  /** List the arms that the caller's tenant may use, with its declarations; all but people, who have no workers. */
  capabilities(): Promise<T.ArmList>;
}

/** Steps that were given up because they killed their workers. */
export interface DeadSteps {
  /** List the tenant's steps that failed with poison_step, newest first; POST to links.retry to run one again. */
  list(options?: { limit?: number; cursor?: string | null }): Promise<T.DeadPage>;
  /** The items of all pages of `list`; `limit` is the size of a page. */
  iterate(options?: { limit?: number; cursor?: string | null }): AsyncGenerator<T.DeadStep, void>;
}

/** Tokens, and the console's session. */
export interface Auth {
  /** Return who the caller is: for the console after a reload. A token is accepted as well as a session. */
  session(): Promise<T.Session>;
  /** Return a JWT for an API key; it has the key's scopes and is refused once the key has ended. */
  exchangeKey(options?: Once): Promise<T.Token>;
}

/** API keys. */
export interface Keys {
  /** List the tenant's API keys, newest first, in pages, without their secrets. */
  list(options?: { limit?: number; cursor?: string | null }): Promise<T.KeyPage>;
  /** The items of all pages of `list`; `limit` is the size of a page. */
  iterate(options?: { limit?: number; cursor?: string | null }): AsyncGenerator<T.Key, void>;
  /** Make an API key of the caller's tenant. Its text is in this response only. */
  create(scopes: Array<"all" | "task:submit" | "task:read" | "task:cancel" | "task:critical" | "task:approve" | "arm:list" | "arm:register" | "arm:admin" | "admin">, options?: T.KeyOptions & Once): Promise<T.NewKey>;
  /** Revoke a key: it and its tokens are refused within five seconds. Calling twice is safe. */
  revoke(key_id: string): Promise<T.Key>;
  /** Make a key with the scopes and the lifetime of this one, which ends after `overlap_hours`. */
  rotate(key_id: string, options?: T.RotationRequest & Once): Promise<T.NewKey>;
}

/** Who did what, and whether it was allowed. */
export interface AuditLog {
  /** List the audit entries about the caller's tenant, newest first, in pages; a filtered page may be short. */
  list(options?: { action?: string | null; outcome?: string | null; key?: string | null; from?: string | null; to?: string | null; limit?: number; cursor?: string | null }): Promise<T.AuditPage>;
  /** The items of all pages of `list`; `limit` is the size of a page. */
  iterate(options?: { action?: string | null; outcome?: string | null; key?: string | null; from?: string | null; to?: string | null; limit?: number; cursor?: string | null }): AsyncGenerator<T.AuditEntry, void>;
}

/** Health, readiness, metrics, and this description. */
export interface Operators {
  /** Return this description as an HTML page, which loads nothing from other hosts. */
  docs(): Promise<string>;
  /** Return 200 if the process responds; checks no other server. */
  health(): Promise<T.Health>;
  /** Return the metrics of all processes on this host, and current counts from Postgres and Redis. */
  metrics(): Promise<string>;
  /** Return this description as OpenAPI 3.1. */
  openapi(): Promise<Record<string, any>>;
  /** Return whether tasks can run: 200 if Postgres and Redis accept writes and every arm has a worker, else 503. */
  ready(): Promise<T.Readiness>;
}

export interface Operations {
  tasks: Tasks;
  plans: Plans;
  recipes: Recipes;
  schedules: Schedules;
  files: Files;
  approvals: Approvals;
  arms: Arms;
  deadSteps: DeadSteps;
  auth: Auth;
  keys: Keys;
  auditLog: AuditLog;
  operators: Operators;
}
