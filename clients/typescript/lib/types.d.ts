// The API's JSON documents. Generated from /openapi.json by `make clients`: do not edit.

/** The reply to a submission; `redacted` counts the texts that were replaced, by kind. */
export interface Accepted {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  created_at: string;
  estimated_completion: string | null;
  message: string;
  cache: CacheReply | null;
  redacted: Record<string, number>;
  links: Record<string, string>;
}

/** A question to a person about a step, and the decision once there is one. */
export interface Approval {
  approval_id: string;
  task_id: string;
  step_id: string;
  round: number;
  kind: "approval" | "question" | "outcome";
  state: "pending" | "approved" | "edited" | "rejected" | "answered" | "run_again" | "accepted" | "expired" | "withdrawn";
  ask: string;
  by: string | null;
  allow: Array<"approve" | "edit" | "reject" | "answer" | "run_again" | "accept">;
  proposal: Proposal;
  proposal_hash: string;
  answer_schema: Record<string, any> | null;
  requested_at: string;
  expires_at: string;
  on_expiry: "reject" | "approve" | "fail";
  decided_by: string | null;
  decided_at: string | null;
  via: string | null;
  comment: string;
  value: any;
  links: Record<string, string>;
}

/** A page of approvals, in the order of `sort`; request the next page with cursor = `next_cursor`. */
export interface ApprovalPage {
  approvals: Array<Approval>;
  next_cursor: string | null;
}

/** An arm: its capabilities and its current state. */
export interface Arm {
  arm_id: string;
  name: string;
  description: string;
  capabilities: Array<string>;
  cost_tier: number;
  endpoint: string;
  status: "healthy" | "degraded" | "unavailable";
  input_schema: Record<string, any>;
  output_schema: Record<string, any>;
  metadata: ArmMetadata;
}

/** All arms. */
export interface ArmList {
  arms: Array<Arm>;
}

/** What is declared and measured about an arm. */
export interface ArmMetadata {
  version: string;
  model: any;
  average_latency_ms: number | null;
  success_rate: number | null;
  max_concurrent_tasks: number;
  queue_depth: number;
  workers: number;
  busy: number;
  outage: string | null;
}

/** One minute of an arm, which begins `at`; `queued` and `busy` are averages over the minute. */
export interface ArmMinute {
  at: string;
  finished: number;
  failed: number;
  p50_ms: number | null;
  p95_ms: number | null;
  queued: number;
  busy: number;
}

/** A declaration about an arm of this system, or with `url` an HTTP arm (docs/http-arms.md). */
export interface ArmRegistration {
  arm_id: string;
  url?: string | null;
  for_all?: boolean | null;
  version?: string | null;
  max_concurrent_tasks?: number | null;
  actions?: Record<string, any> | null;
  status?: "healthy" | "degraded" | "unavailable" | null;
  metadata?: Record<string, any> | null;
  name?: string | null;
  description?: string | null;
  capabilities?: Array<string> | null;
  cost_tier?: number | null;
  endpoint?: string | null;
  input_schema?: Record<string, any> | null;
  output_schema?: Record<string, any> | null;
}

/** What arms.register also takes. */
export interface ArmRegistrationOptions {
  url?: string | null;
  for_all?: boolean | null;
  version?: string | null;
  max_concurrent_tasks?: number | null;
  actions?: Record<string, any> | null;
  status?: "healthy" | "degraded" | "unavailable" | null;
  metadata?: Record<string, any> | null;
  name?: string | null;
  description?: string | null;
  capabilities?: Array<string> | null;
  cost_tier?: number | null;
  endpoint?: string | null;
  input_schema?: Record<string, any> | null;
  output_schema?: Record<string, any> | null;
}

/** An arm now and in the last minutes; figures are of all tenants, but `cost_dollars` only of the caller's. */
export interface ArmStatistics {
  arm_id: string;
  name: string;
  status: "healthy" | "degraded" | "unavailable";
  queued: number;
  oldest_queued_seconds: number | null;
  workers: number;
  busy: number;
  slots: number;
  is_unserved: boolean;
  outage: string | null;
  ended: number;
  success_rate: number | null;
  p50_ms: number | null;
  p95_ms: number | null;
  cost_dollars: number | null;
  complete_since: string | null;
  series: Array<ArmMinute>;
}

/** All arms that the caller's tenant may use. */
export interface ArmStatisticsList {
  minutes: number;
  arms: Array<ArmStatistics>;
}

/** A stored file; its id is the SHA-256 of its content. */
export interface Artifact {
  artifact_id: string;
  sha256: string;
  filename: string;
  media_type: string;
  size_bytes: number;
  created_at: string;
}

/** One attempt; `waited_ms` is the time in the queue before it, `delay_seconds` how long the next was put off. */
export interface AttemptAccount {
  attempt: number;
  worker: string | null;
  started_at: string | null;
  ended_at: string | null;
  waited_ms: number | null;
  duration_ms: number | null;
  outcome: string | null;
  error: any;
  delay_seconds: number | null;
  usage: Record<string, any>;
  provenance: Record<string, any>;
}

/** One action: who did what to which object, from where, and whether it was allowed (`reason`: why not). */
export interface AuditEntry {
  occurred_at: string;
  action: string;
  outcome: "allowed" | "denied" | "failed";
  object: string | null;
  key_id: string | null;
  subject: string | null;
  address: string | null;
  reason: string | null;
  request_id: string | null;
  times: number;
}

/** A page of entries, newest first; request the next page with cursor = `next_cursor`. */
export interface AuditPage {
  entries: Array<AuditEntry>;
  seen_back_to: string | null;
  next_cursor: string | null;
}

/** The times that start a task, one after the other, or would (`dry_run`). */
export interface Backfill {
  times: Array<string>;
  local_times: Array<string>;
  tz: string;
  dry_run: boolean;
}

/** What schedules.backfill also takes. */
export interface BackfillOptions {
  dry_run?: boolean | null;
}

/** A range of the past, both ends included, of at most 100 times; with `dry_run` nothing starts. */
export interface BackfillRequest {
  from: string;
  to: string;
  dry_run?: boolean | null;
}

/** A task's budget: its limits, the sums of all calls, and a page of the calls in the order of reservation. */
export interface Budget {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  limits: BudgetLimits;
  totals: BudgetTotals;
  entries: Array<BudgetEntry>;
  next_after: number;
}

/** A call to a model: reserved `at` before it was sent, charged at `settled_at`. */
export interface BudgetEntry {
  at: string;
  settled_at: string | null;
  step: string;
  step_id: string;
  round: number;
  attempt: number;
  call: number;
  purpose: string | null;
  model: string | null;
  reserved_tokens: number;
  reserved_dollars: number | null;
  settled_tokens: number | null;
  settled_dollars: number | null;
  state: "reserved" | "settled";
}

/** What all calls of the task may use. */
export interface BudgetLimits {
  max_tokens: number | null;
  max_cost_dollars: number | null;
}

/** What a task may spend; max_cost_usd is another name for max_cost_dollars. */
export interface BudgetRequest {
  max_tokens?: number | null;
  max_time_seconds?: number | null;
  max_cost_dollars?: number | null;
  max_cost_usd?: number | null;
  max_retries?: number | null;
  max_repairs?: number | null;
  max_replans?: number | null;
}

/** What all calls were charged, and what the open ones reserve; dollars are null if a part is unknown. */
export interface BudgetTotals {
  settled_tokens: number;
  settled_dollars: number | null;
  reserved_tokens: number;
  reserved_dollars: number | null;
}

/** Source of a cached or coalesced result; `age_seconds` is set on a hit. */
export interface CacheReply {
  layer: "coalesced" | "exact" | "alias";
  source_task_id: string;
  age_seconds: number;
}

/** How the task may use the cache; `max_age` is the greatest age of a cached result, in seconds. */
export interface CacheRequest {
  mode?: "default" | "bypass" | "refresh" | "only_cached" | "no_store" | null;
  max_age?: number | null;
}

/** Why the task is cancelled. */
export interface CancelRequest {
  reason?: string | null;
}

/** A cancelled task and the steps that were stopped; none if it was cancelled before. */
export interface Cancelled {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  event_seq: number;
  phase: "accepted" | "planning" | "executing" | "judging" | "repairing" | "finishing" | "done";
  goal: string;
  priority: "low" | "medium" | "high" | "critical";
  progress: Progress;
  waiting_for: Array<string>;
  approvals: Array<OpenApproval>;
  message: string | null;
  retry_of: string | null;
  trace_id: string | null;
  schedule_id: string | null;
  scheduled_at: string | null;
  result: Result | null;
  error: Failure | null;
  metadata: Metadata | null;
  cache: CacheReply | null;
  steps: Array<Step>;
  created_at: string;
  updated_at: string;
  completed_at: string | null;
  failed_at: string | null;
  processing_time_ms: number | null;
  stopped: Array<StoppedStep>;
}

/** A place (a JSON pointer) where two values differ; each side is its JSON text, cut; null: it is not there. */
export interface Change {
  path: string;
  left: string | null;
  right: string | null;
}

/** What is wrong with a contract, at most 100 faults; else the steps that would run. */
export interface Checked {
  faults: Array<Fault>;
  planned_by: "client" | "recipe" | "model";
  steps: Array<RoutedStep>;
  reserved_tokens: number;
  budget: EffectiveBudget | null;
  limits: Limits;
}

/** What approvals.decide_by_link also takes. */
export interface ChoiceOptions {
  inputs?: Record<string, any> | null;
  answer?: any;
  comment?: string | null;
}

/** What is decided: `inputs` come with edit, `answer` with answer, and with accept as the output of the step. */
export interface ChoiceRequest {
  decision: "approve" | "edit" | "reject" | "answer" | "run_again" | "accept";
  inputs?: Record<string, any> | null;
  answer?: any;
  comment?: string | null;
}

/** One of the two rounds; cost and tokens are those of the round, `decision` is its verdict. */
export interface ComparedSide {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  goal: string;
  round: number;
  mode: string;
  decision: string | null;
  coverage: number | null;
  tokens_used: number;
  cost_dollars: number | null;
  milliseconds: number;
}

/** A step in one of the rounds; `task_id` and `round` are those of the row that holds its result. */
export interface ComparedStep {
  task_id: string;
  round: number;
  arm_id: string;
  action: string;
  status: string;
  error_code: string | null;
  summary: string | null;
  input_sha256: string;
  output_sha256: string | null;
  output_bytes: number | null;
  duration_ms: number | null;
}

/** A completed task, which has a result. */
export interface Completed {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  event_seq: number;
  phase: "accepted" | "planning" | "executing" | "judging" | "repairing" | "finishing" | "done";
  goal: string;
  priority: "low" | "medium" | "high" | "critical";
  progress: Progress;
  waiting_for: Array<string>;
  approvals: Array<OpenApproval>;
  message: string | null;
  retry_of: string | null;
  trace_id: string | null;
  schedule_id: string | null;
  scheduled_at: string | null;
  result: Result;
  error: Failure | null;
  metadata: Metadata | null;
  cache: CacheReply | null;
  steps: Array<Step>;
  created_at: string;
  updated_at: string;
  completed_at: string | null;
  failed_at: string | null;
  processing_time_ms: number | null;
}

/** A page of dead letters, newest first; request the next page with cursor = `next_cursor`. */
export interface DeadPage {
  steps: Array<DeadStep>;
  next_cursor: string | null;
}

/** A step that was given up after it killed `kills` workers; `retried_by` is the latest retry of its task. */
export interface DeadStep {
  task_id: string;
  task_status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  step_id: string;
  arm_id: string;
  round: number;
  kills: number;
  error: any;
  failed_at: string;
  retried_by: string | null;
  links: Record<string, string>;
}

/** What approvals.decide also takes. */
export interface DecisionOptions {
  inputs?: Record<string, any> | null;
  answer?: any;
  comment?: string | null;
  via?: "api" | "cli" | "console" | null;
}

/** One decision about a task. */
export interface DecisionReply {
  id: number;
  round: number;
  timestamp: string;
  kind: string;
  data: any;
}

/** A decision about exactly the proposal with this hash; `via` says by which program. */
export interface DecisionRequest {
  decision: "approve" | "edit" | "reject" | "answer" | "run_again" | "accept";
  inputs?: Record<string, any> | null;
  answer?: any;
  comment?: string | null;
  proposal_hash: string;
  via?: "api" | "cli" | "console" | null;
}

/** A file that was deleted. */
export interface DeletedFile {
  artifact_id: string;
  freed_bytes: number;
}

/** How two rounds differ; `steps` are in the order of their dependencies. */
export interface Difference {
  left: ComparedSide;
  right: ComparedSide;
  contract: Array<Change>;
  plan: PlanDifference;
  steps: Array<StepDifference>;
  first_divergence: string | null;
  changes: Array<Change>;
  findings: Array<FindingDifference>;
  set: any;
}

/** The budget that the task would have, with the server's limits where the contract has none. */
export interface EffectiveBudget {
  max_tokens: number;
  max_time_seconds: number;
  max_cost_dollars: number;
  max_retries: number;
  max_repairs: number;
  max_replans: number;
}

/** The problem's code and message again, where OctoLLM's TypeScript client reads them. */
export interface ErrorDetail {
  code: string;
  message: string;
  details: Record<string, any>;
}

/** What something used before; null: not known. */
export interface Estimate {
  estimated_tokens: number | null;
  estimated_cost_dollars: number | null;
}

/** An event of a task; only a transient one has neither number nor time. */
export interface Event {
  seq?: number;
  timestamp?: string;
  type: string;
  data: any;
}

/** A page of events; request the next page with after = `next_after`. */
export interface EventPage {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  events: Array<EventReply>;
  next_after: number;
}

/** One numbered event of a task. */
export interface EventReply {
  seq: number;
  timestamp: string;
  type: string;
  data: any;
}

/** Why a task failed or was cancelled. */
export interface Failure {
  type: string;
  code: string;
  message: string;
  details: string | null;
  retryable: boolean;
}

/** What is wrong: `path` is the JSON pointer, in the body, of the deepest place that exists. */
export interface Fault {
  path: string;
  message: string;
}

/** What tasks.feedback also takes. */
export interface FeedbackOptions {
  comment?: string | null;
}

/** The effect of a report: `source_task_id`'s result is no longer reused; `layer_off`: its layer was disabled. */
export interface FeedbackReply {
  task_id: string;
  verdict: string;
  layer: "exact" | "alias";
  source_task_id: string | null;
  layer_off: boolean;
}

/** A client's verdict on a result. */
export interface FeedbackRequest {
  verdict: "wrong_hit";
  comment?: string | null;
}

/** A criterion that was not judged alike; null: that verdict does not have it. */
export interface FindingDifference {
  criterion: string;
  left: any;
  right: any;
}

/** What is changed; all else is as in the task that is repeated. */
export interface Fork {
  inputs?: Record<string, any> | null;
  model?: string | null;
  prompt?: Record<string, string | null> | null;
  criteria?: Array<string | Record<string, any>> | null;
}

/** The process responds. */
export interface Health {
  status: "healthy" | "degraded" | "unhealthy";
  version: string;
  uptime_seconds: number;
  components: Record<string, string>;
  timestamp: string;
}

/** The new end of a registered arm's life. */
export interface Heartbeat {
  arm_id: string;
  expires_at: string;
  heartbeat_seconds: number;
}

/** A place of the inputs (a JSON pointer) that takes what `pointer` names in a step's output; `from`: that row. */
export interface InputReference {
  path: string;
  step_id: string;
  pointer: string;
  from: StepPlace | null;
}

/** An item of a step with for_each; a large `item` is the beginning of its JSON text. */
export interface Item {
  step_id: string;
  index: number;
  item: any;
  status: string;
  attempt: number;
  summary: string | null;
  error: any;
  reused_from: string | null;
  started_at: string | null;
  finished_at: string | null;
}

/** The items of a step by state, and a page of them; request the next with after = `next_after`. */
export interface ItemPage {
  counts: Record<string, number>;
  items: Array<Item>;
  next_after: number | null;
}

/** How many items of a step with for_each are reused, and how many run. */
export interface ItemsToRun {
  reused: number;
  runs: number;
}

/** An API key without its secret. `is_own`: the caller's token was made with it. */
export interface Key {
  key_id: string;
  name: string;
  environment: string;
  scopes: Array<string>;
  state: "live" | "expired" | "revoked";
  is_own: boolean;
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
  last_used_at: string | null;
}

/** What keys.create also takes. */
export interface KeyOptions {
  name?: string | null;
  environment?: string | null;
  expires_days?: number | null;
}

/** A page of the tenant's keys, newest first; request the next page with cursor = `next_cursor`. */
export interface KeyPage {
  keys: Array<Key>;
  next_cursor: string | null;
}

/** A new key: its name for people, its scopes (or `all`), and after how many days it ends (0: never). */
export interface KeyRequest {
  name?: string | null;
  scopes: Array<"all" | "task:submit" | "task:read" | "task:cancel" | "task:critical" | "task:approve" | "arm:list" | "arm:register" | "arm:admin" | "admin">;
  environment?: string | null;
  expires_days?: number | null;
}

/** A file in RECIPES_PATH that holds no usable recipe; `recipe` is its name if the file has one. */
export interface LeftOut {
  file: string;
  recipe: string;
  reason: string;
}

/** What this server accepts: bytes of a body and of a file, and counts. */
export interface Limits {
  body_bytes: number;
  file_bytes: number;
  attachments: number;
  criteria: number;
}

/** A link that shows one proposal and decides it once, without a token; `url` is absolute if PUBLIC_URL is set. */
export interface Link {
  approval_id: string;
  for: string;
  expires_at: string;
  url: string;
}

/** What approvals.issue_link also takes. */
export interface LinkOptions {
  expires_in?: number | null;
}

/** For whom a link is, which the decision records, and for how many seconds it works. */
export interface LinkRequest {
  for: string;
  expires_in?: number | null;
}

/** An approval as its link shows it, and for whom and until when the link works. */
export interface LinkedApproval {
  approval_id: string;
  task_id: string;
  step_id: string;
  round: number;
  kind: "approval" | "question" | "outcome";
  state: "pending" | "approved" | "edited" | "rejected" | "answered" | "run_again" | "accepted" | "expired" | "withdrawn";
  ask: string;
  by: string | null;
  allow: Array<"approve" | "edit" | "reject" | "answer" | "run_again" | "accept">;
  proposal: Proposal;
  proposal_hash: string;
  answer_schema: Record<string, any> | null;
  requested_at: string;
  expires_at: string;
  on_expiry: "reject" | "approve" | "fail";
  decided_by: string | null;
  decided_at: string | null;
  via: string | null;
  comment: string;
  value: any;
  links: Record<string, string>;
  for: string;
  link_expires_at: string;
}

/** One line of a step's log. */
export interface LogLine {
  timestamp: string | null;
  source: "event" | "decision" | "model" | "stdout" | "stderr";
  attempt: number | null;
  text: string;
}

/** What a task used; present once it has ended. */
export interface Metadata {
  arms_used: Array<string>;
  tokens_used: number;
  cost_dollars: number | null;
  duration_seconds: number;
  cache_hit: boolean;
  plan_id: string | null;
  repairs: number;
  replans: number;
}

/** A model as OpenAI lists them: octollm plans by itself, octollm/<recipe> by a recipe. */
export interface Model {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
}

/** All models. */
export interface ModelList {
  object: "list";
  data: Array<Model>;
}

/** A new API key; `key` is its text, which is not stored and can't be shown again. */
export interface NewKey {
  key_id: string;
  name: string;
  environment: string;
  scopes: Array<string>;
  state: "live" | "expired" | "revoked";
  is_own: boolean;
  created_at: string;
  expires_at: string | null;
  revoked_at: string | null;
  last_used_at: string | null;
  key: string;
}

/** What a person is asked about a step, by whom it should be decided, and until when. */
export interface OpenApproval {
  approval_id: string;
  step_id: string;
  kind: "approval" | "question" | "outcome";
  ask: string;
  by: string | null;
  expires_at: string;
}

/** A value that a recipe takes; `schema` is its JSON Schema. */
export interface Parameter {
  name: string;
  schema: Record<string, any>;
  description: string;
  required: boolean;
  default: any;
}

/** The steps that only the right plan has, only the left one, and by step the members that differ. */
export interface PlanDifference {
  added: Array<string>;
  removed: Array<string>;
  changed: Record<string, Array<string>>;
}

/** An error (RFC 9457); `code` is stable, `details` lists the faults by field. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  code: string;
  message: string;
  details: Record<string, any>;
  retryable: boolean;
  retry_after: number;
  request_id: string;
  timestamp: string;
  error: ErrorDetail;
}

/** How far a task is; `percentage` never decreases. */
export interface Progress {
  current_step: "preprocessing" | "planning" | "execution" | "validation" | "synthesis";
  completed_steps: number;
  total_steps: number;
  percentage: number;
}

/** A prompt; `sha256` is that of its text, null if this server has another version of it. */
export interface PromptUsed {
  name: string;
  version: string | null;
  sha256: string | null;
}

/** What is about to run: an arm's action and its inputs; `effect` is what is known if it was begun and lost. */
export interface Proposal {
  arm: string;
  action: string;
  inputs: Record<string, any>;
  effect: Record<string, any> | null;
}

/** A question to models; `id` is that of the decision in the trace, `calls` are the requests that were sent. */
export interface QuestionAsked {
  id: number;
  asked_at: string;
  attempt: number | null;
  prompt: PromptUsed;
  work: string | null;
  provider: string | null;
  model: string | null;
  fake: boolean;
  finish: string | null;
  form: string | null;
  input_tokens: number | null;
  output_tokens: number | null;
  cost_dollars: string | null;
  error: string | null;
  failover: boolean;
  corrections: number;
  calls: Array<any>;
}

/** Whether tasks can run, and what prevents it. */
export interface Readiness {
  ready: boolean;
  checks: Record<string, any>;
  warnings: Array<string>;
  version: string;
  timestamp: string;
}

/** A recipe: what it does, an example of a goal that it fits, what has to be attached, and its parameters. */
export interface Recipe {
  recipe: string;
  version: string;
  description: string;
  say: string;
  needs: string;
  origin: string;
  parameters: Array<Parameter>;
}

/** All recipes of this server, and the files of its operator that can't be used. */
export interface RecipeList {
  recipes: Array<Recipe>;
  left_out: Array<LeftOut>;
}

/** An arm after a declaration or a registration; a registered one ends at `expires_at` without a heartbeat. */
export interface Registered {
  status: "registered" | "updated";
  arm: Arm;
  expires_at: string | null;
  heartbeat_seconds: number | null;
  secret: string | null;
}

/** Why a response failed: OpenAI's nearest code, and our code and message. */
export interface ResponseError {
  code: string;
  message: string;
}

/** A task as OpenAI's response object; `metadata` has, besides the caller's, members that begin with octollm_. */
export interface ResponseObject {
  id: string;
  object: "response";
  created_at: number;
  completed_at: number | null;
  status: "queued" | "in_progress" | "completed" | "failed" | "cancelled" | "incomplete";
  background: boolean;
  error: ResponseError | null;
  incomplete_details: Record<string, any> | null;
  instructions: string | null;
  max_output_tokens: number | null;
  model: string;
  output: Array<Record<string, any>>;
  parallel_tool_calls: boolean;
  previous_response_id: string | null;
  store: boolean;
  temperature: number | null;
  text: Record<string, any>;
  tool_choice: "auto";
  tools: Array<Record<string, any>>;
  top_p: number | null;
  truncation: "disabled";
  usage: Record<string, any> | null;
  metadata: Record<string, string>;
}

/** A request for a response, in OpenAI's shape; `octollm` has members of POST /v1/tasks that OpenAI has none for. */
export interface ResponseRequest {
  model: string;
  input: string | Array<Record<string, any>>;
  instructions?: string | null;
  background?: boolean | null;
  stream?: boolean | null;
  metadata?: Record<string, any> | null;
  max_output_tokens?: number | null;
  text?: Record<string, any> | null;
  octollm?: Record<string, any> | null;
}

/** The result of a task: the answer, `output` as text and `data` as JSON values; `summary` is what each step did. */
export interface Result {
  output: string;
  summary: string;
  answered_by: "plan" | "step" | "model" | "summary";
  coverage: number | null;
  confidence: number;
  validation_passed: boolean;
  data: any;
  artifacts: Array<any>;
  warnings: Array<string>;
  partial: boolean;
}

/** What tasks.retry also takes. */
export interface RetryOptions {
  from_step?: string | null;
  from?: string | null;
  set?: Fork | null;
  replay?: boolean | null;
  live_on_miss?: boolean | null;
}

/** What a retry would do; nothing was written. */
export interface RetryPreview {
  is_planned: boolean;
  reused: Array<ReusedStep>;
  runs: Array<StepToRun>;
  judge: Estimate;
  estimated_tokens: number | null;
  estimated_cost_dollars: number | null;
}

/** The step from which a task runs again, including finished steps, and what is changed in `set`. */
export interface RetryRequest {
  dry_run?: boolean | null;
  from_step?: string | null;
  from?: string | null;
  set?: Fork | null;
  replay?: boolean | null;
  live_on_miss?: boolean | null;
}

/** A step whose result is kept; `task_id` is the task that did the work. */
export interface ReusedStep {
  step_id: string;
  arm_id: string;
  task_id: string;
}

/** For how many hours the old key works beside its successor. */
export interface RotationRequest {
  overlap_hours?: number | null;
}

/** A step of the plan, and the arm and action that would do it now; `reason` says why, or what it would wait for. */
export interface RoutedStep {
  id: string;
  description: string;
  arm: string;
  action: string;
  reason: string;
  depends_on: Array<string>;
  estimate: Record<string, number>;
  needs_approval: boolean;
  for_each: boolean;
}

/** A schedule: its contract, its times, and what it does next. */
export interface Schedule {
  schedule_id: string;
  name: string;
  state: "active" | "paused" | "ended";
  cron: string | null;
  tz: string | null;
  every_seconds: number | null;
  jitter_seconds: number;
  starts_at: string | null;
  ends_at: string | null;
  overlap: "skip" | "queue_one" | "cancel_other" | "allow";
  catchup_window_seconds: number;
  pause_after_failures: number | null;
  next_at: string | null;
  due_at: string | null;
  waiting: number;
  paused_at: string | null;
  paused_reason: string | null;
  key_id: string;
  created_at: string;
  updated_at: string;
  contract: Record<string, any>;
}

/** The members of a schedule to replace. `cron` (with `tz`) or `every_seconds` replaces the other. */
export interface ScheduleChange {
  name?: string | null;
  contract?: TaskRequest | null;
  cron?: string | null;
  tz?: string | null;
  every_seconds?: number | null;
  jitter_seconds?: number | null;
  starts_at?: string | null;
  ends_at?: string | null;
  overlap?: "skip" | "queue_one" | "cancel_other" | "allow" | null;
  catchup_window_seconds?: number | null;
  pause_after_failures?: number | null;
}

/** Something that happened to a schedule. */
export interface ScheduleEvent {
  id: number;
  timestamp: string;
  type: string;
  kind: "scheduled" | "trigger" | "backfill" | null;
  scheduled_at: string | null;
  task_id: string | null;
  task_status: "queued" | "processing" | "completed" | "failed" | "cancelled" | null;
  reason: string | null;
  data: any;
}

/** A page of a schedule's events, newest first; request the next page with before = `next_before`. */
export interface ScheduleEventPage {
  events: Array<ScheduleEvent>;
  next_before: number | null;
}

/** What schedules.create also takes. */
export interface ScheduleOptions {
  cron?: string | null;
  tz?: string | null;
  every_seconds?: number | null;
  jitter_seconds?: number | null;
  starts_at?: string | null;
  ends_at?: string | null;
  overlap?: "skip" | "queue_one" | "cancel_other" | "allow" | null;
  catchup_window_seconds?: number | null;
  pause_after_failures?: number | null;
  paused?: boolean | null;
}

/** A page of the tenant's schedules, newest first; request the next page with cursor = `next_cursor`. */
export interface SchedulePage {
  schedules: Array<Schedule>;
  next_cursor: string | null;
}

/** A new schedule: a name, the contract of its tasks (the body of POST /v1/tasks), and when they start. */
export interface ScheduleRequest {
  name: string;
  contract: TaskRequest;
  cron?: string | null;
  tz?: string | null;
  every_seconds?: number | null;
  jitter_seconds?: number | null;
  starts_at?: string | null;
  ends_at?: string | null;
  overlap?: "skip" | "queue_one" | "cancel_other" | "allow" | null;
  catchup_window_seconds?: number | null;
  pause_after_failures?: number | null;
  paused?: boolean | null;
}

/** How much of the history this reply is about: the newest `tasks` of the list, back to the time `back_to`. */
export interface Seen {
  tasks: number;
  back_to: string;
}

/** What a step waits for, or the task itself, its plan or its verdict if `step_id` is null. */
export interface Sentence {
  step_id: string | null;
  kind: "task" | "dependency" | "worker" | "outage" | "slot" | "model_limit" | "budget" | "approval" | "retry" | "running" | "lease" | "planner" | "judge";
  text: string;
  until: string | null;
  by: string | null;
  arm: string | null;
  approval_id: string | null;
}

/** Who is signed in, and until when. */
export interface Session {
  tenant: string;
  key_id: string;
  scopes: Array<string>;
  expires_at: string;
}

/** A JSON value; of one that is too large, `value` is null and `preview` is the beginning of its JSON text. */
export interface Shown {
  value: any;
  size_bytes: number;
  preview: string | null;
  artifact_id: string | null;
  href: string | null;
}

/** An API key, or the code of a link that `octollm up` prints. */
export interface SignIn {
  api_key?: string | null;
  code?: string | null;
}

/** A task: its progress, its result, and its steps; `retry_of` is the task that it repeats. */
export interface Status {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  event_seq: number;
  phase: "accepted" | "planning" | "executing" | "judging" | "repairing" | "finishing" | "done";
  goal: string;
  priority: "low" | "medium" | "high" | "critical";
  progress: Progress;
  waiting_for: Array<string>;
  approvals: Array<OpenApproval>;
  message: string | null;
  retry_of: string | null;
  trace_id: string | null;
  schedule_id: string | null;
  scheduled_at: string | null;
  result: Result | null;
  error: Failure | null;
  metadata: Metadata | null;
  cache: CacheReply | null;
  steps: Array<Step>;
  created_at: string;
  updated_at: string;
  completed_at: string | null;
  failed_at: string | null;
  processing_time_ms: number | null;
}

/** How many tasks there are; `more` if further ones were not looked at. */
export interface StatusCount {
  count: number;
  more: boolean;
}

/** A step of the plan, in its latest round; `reused_from` is the earlier task whose result it reuses. */
export interface Step {
  step_id: string;
  arm_id: string;
  action: string;
  description: string;
  status: "blocked" | "held" | "waiting" | "queued" | "running" | "done" | "failed" | "skipped" | "cancelled";
  round: number;
  attempt: number;
  reused_from: string | null;
  depends_on: Array<string>;
  optional: boolean;
  items: Record<string, number> | null;
  summary: string | null;
  error: any;
  warnings: Array<string>;
  queued_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  duration_ms: number | null;
}

/** What a person was asked about the step, and decided. */
export interface StepApproval {
  approval_id: string;
  kind: string;
  state: string;
  ask: string;
  by: string | null;
  decided_by: string | null;
  decided_at: string | null;
  comment: string;
  expires_at: string;
}

/** One step of a task in one round: inputs, attempts, output, calls to models, decisions and a log. */
export interface StepDetails {
  task_id: string;
  step_id: string;
  row_id: string;
  kind: "plan" | "step" | "judge";
  part: string | null;
  round: number;
  rounds: Array<number>;
  arm_id: string;
  action: string | null;
  description: string;
  status: "blocked" | "held" | "waiting" | "queued" | "running" | "done" | "failed" | "skipped" | "cancelled";
  attempt: number;
  worker: string | null;
  depends_on: Array<string>;
  optional: boolean;
  feedback: string | null;
  when: any;
  for_each: any;
  acceptance_criteria: Array<any>;
  queued_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  reused_from: StepPlace | null;
  inputs: Shown;
  references: Array<InputReference>;
  resolved: Shown | null;
  unresolved: string | null;
  output: Shown | null;
  error: any;
  warnings: Array<string>;
  evidence: Array<any>;
  usage: Record<string, any>;
  provenance: Record<string, any>;
  files: Array<StepFile>;
  attempts: Array<AttemptAccount>;
  model_calls: Array<QuestionAsked>;
  approval: StepApproval | null;
  decisions: Array<DecisionReply>;
  log: Array<LogLine>;
  items: ItemPage | null;
  is_complete: boolean;
  links: Record<string, string>;
}

/** A step, and what differs of it first: it is absent, its inputs or its arm, how it ended, what it put out. */
export interface StepDifference {
  step_id: string;
  difference: "same" | "inputs" | "output" | "status" | "absent";
  same_answers: boolean | null;
  left: ComparedStep | null;
  right: ComparedStep | null;
}

/** A file that the output names. */
export interface StepFile {
  name: string;
  artifact_id: string;
  media_type: string;
  size_bytes: number;
  href: string;
}

/** A step of a task in one round. */
export interface StepPlace {
  task_id: string;
  step_id: string;
  round: number;
}

/** A step that runs again, and why; `asks`: a person is asked first. */
export interface StepToRun {
  step_id: string;
  arm_id: string;
  action: string;
  reason: "from_step" | "inputs" | "prompt" | "model" | "failed" | "failed_items" | "skipped" | "not_done" | "depends_on";
  asks: boolean;
  items: ItemsToRun | null;
  estimated_tokens: number | null;
  estimated_cost_dollars: number | null;
}

/** A step that the cancellation stopped; `was` is its state before. */
export interface StoppedStep {
  step_id: string;
  arm_id: string;
  was: "running" | "queued" | "waiting" | "held" | "blocked";
  attempt: number;
}

/** What tasks.submit also takes. */
export interface TaskOptions {
  constraints?: Array<string> | Record<string, any> | null;
  acceptance_criteria?: Array<string | Record<string, any>> | null;
  context?: Record<string, any> | string | null;
  attachments?: Array<string> | null;
  budget?: BudgetRequest | null;
  priority?: "low" | "medium" | "high" | "critical" | null;
  metadata?: Record<string, any> | null;
  deadline?: string | null;
  output_schema?: Record<string, any> | null;
  plan?: Record<string, any> | Array<Record<string, any>> | null;
  recipe?: string | null;
  parameters?: Record<string, any> | null;
  callback_url?: string | null;
  cache?: CacheRequest | null;
  required_capabilities?: Array<string> | null;
  assigned_arm?: string | null;
  effects?: "none" | "read" | "write" | null;
  parent_task_id?: string | null;
  api_version?: string | null;
  schema_version?: string | null;
  task_id?: string | null;
}

/** A page of the tenant's tasks; request the next page with cursor = `next_cursor`. */
export interface TaskPage {
  tasks: Array<TaskSummary>;
  counts: Record<string, StatusCount> | null;
  seen: Seen | null;
  next_cursor: string | null;
}

/** A task contract as clients write it, in either of OctoLLM's dialects. */
export interface TaskRequest {
  goal: string;
  constraints?: Array<string> | Record<string, any> | null;
  acceptance_criteria?: Array<string | Record<string, any>> | null;
  context?: Record<string, any> | string | null;
  attachments?: Array<string> | null;
  budget?: BudgetRequest | null;
  priority?: "low" | "medium" | "high" | "critical" | null;
  metadata?: Record<string, any> | null;
  deadline?: string | null;
  output_schema?: Record<string, any> | null;
  plan?: Record<string, any> | Array<Record<string, any>> | null;
  recipe?: string | null;
  parameters?: Record<string, any> | null;
  callback_url?: string | null;
  cache?: CacheRequest | null;
  required_capabilities?: Array<string> | null;
  assigned_arm?: string | null;
  effects?: "none" | "read" | "write" | null;
  parent_task_id?: string | null;
  api_version?: string | null;
  schema_version?: string | null;
  task_id?: string | null;
}

/** A task in a list; `waiting` is the number of its pending approvals, a cost of null is unknown. */
export interface TaskSummary {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  phase: "accepted" | "planning" | "executing" | "judging" | "repairing" | "finishing" | "done";
  goal: string;
  priority: "low" | "medium" | "high" | "critical";
  percentage: number;
  completed_steps: number;
  total_steps: number;
  waiting: number;
  tokens_used: number;
  cost_dollars: number | null;
  created_at: string;
  updated_at: string;
  completed_at: string | null;
  failed_at: string | null;
  schedule_id: string | null;
  scheduled_at: string | null;
  processing_time_ms: number | null;
}

/** A ticket that opens a task's stream once. */
export interface Ticket {
  ticket: string;
  expires_in: number;
  links: Record<string, string>;
}

/** Times in UTC, and the same ones as `tz` writes them. */
export interface Times {
  times: Array<string>;
  local_times: Array<string>;
  tz: string;
}

/** A JWT; send it as `Authorization: Bearer`, or as X-API-Key. */
export interface Token {
  access_token: string;
  token_type: string;
  expires_in: number;
  scopes: Array<string>;
}

/** A task's contract, each step's result, and a page of the decisions in between. */
export interface Trace {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  contract: Record<string, any>;
  steps: Array<TracedStep>;
  decisions: Array<DecisionReply>;
  next_after: number;
}

/** A step of the plan with its complete result. */
export interface TracedStep {
  step_id: string;
  arm_id: string;
  action: string;
  description: string;
  status: "blocked" | "held" | "waiting" | "queued" | "running" | "done" | "failed" | "skipped" | "cancelled";
  round: number;
  attempt: number;
  reused_from: string | null;
  depends_on: Array<string>;
  optional: boolean;
  items: Record<string, number> | null;
  summary: string | null;
  error: any;
  warnings: Array<string>;
  queued_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  duration_ms: number | null;
  result: any;
}

/** What a task waits for: first the task, then each open step; none when it has ended. */
export interface Waiting {
  task_id: string;
  status: "queued" | "processing" | "completed" | "failed" | "cancelled";
  sentences: Array<Sentence>;
  left_out: number;
}

/** An arm that was taken out of use. */
export interface Withdrawn {
  arm_id: string;
  status: "deleted";
}
