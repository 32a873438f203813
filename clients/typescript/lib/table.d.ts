/** What a method sends: see table.js. */
export interface Operation {
  verb: string;
  path: string;
  parameters?: string[];
  query?: string[];
  /** The body's only required member, an argument of its own. */
  member?: string;
  hasBody?: boolean;
  /** Members of the body that are always sent. */
  fixed?: Record<string, unknown>;
  isBodyRequired?: boolean;
  isIdempotent?: boolean;
  reads?: "json" | "text" | "nothing";
  answerStatuses?: number[];
  credential?: "token" | "key" | "none";
  items?: string;
}

export type Table = Record<string, Record<string, Operation>>;

export const OPERATIONS: Table;
