/** A plan of a client. */
export interface Plan {
  steps: Array<{ id: string; [member: string]: unknown }>;
  [member: string]: unknown;
}
