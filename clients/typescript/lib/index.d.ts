import * as T from "./types.js";
import type { Files as GeneratedFiles, Operations, Tasks as GeneratedTasks } from "./operations.js";

export * from "./errors.js";
export * from "./problems.js";
export type * from "./types.js";

export interface ClientOptions {
  /** The server's address; OCTOLLM_URL, else http://127.0.0.1:8000. */
  url?: string;
  /** Exchanged for a token, which is renewed in time; OCTOLLM_API_KEY. */
  apiKey?: string;
  /** A token instead of a key; OCTOLLM_TOKEN. */
  token?: string;
  /** The limit of a request; 30 by default. */
  timeoutSeconds?: number;
  /** How often a request is sent again at most (6), and for how many seconds of pauses (90). */
  maxRetries?: number;
  maxRetrySeconds?: number;
  fetch?: typeof globalThis.fetch;
}

export interface Tasks extends GeneratedTasks {
  /** The task's status once it has ended. Throws WaitTimeout after `timeoutSeconds`. */
  wait(task_id: string, options?: { timeoutSeconds?: number; signal?: AbortSignal }): Promise<T.Status>;
  /** The task's events after number `after`, each exactly once, as they happen, until its last one. */
  events(
    task_id: string,
    options?: { after?: number; progress?: boolean; signal?: AbortSignal },
  ): AsyncGenerator<T.Event, void>;
}

export interface Files extends GeneratedFiles {
  /** Store a file and return its id; the same content always has the same id. */
  upload(content: Blob | Uint8Array, options?: { filename?: string; mediaType?: string }): Promise<T.Artifact>;
  /** The file's content. */
  download(artifact_id: string): Promise<Uint8Array>;
  /** The file's content in pieces. */
  stream(artifact_id: string): Promise<ReadableStream<Uint8Array>>;
}

export interface RunOptions extends T.TaskOptions {
  /** Uploaded first; the task reads them. */
  files?: Array<Blob | Uint8Array>;
  timeoutSeconds?: number;
  signal?: AbortSignal;
  idempotencyKey?: string;
}

/** A client of an OctoLLM server. */
export class Client {
  constructor(options?: ClientOptions);
  /** Upload files, submit a task that reads them, wait for its end, and return it. Throws TaskFailed, WaitTimeout. */
  run(goal: string, options?: RunOptions): Promise<T.Completed>;
}
export interface Client extends Omit<Operations, "tasks" | "files"> {
  tasks: Tasks;
  files: Files;
}
