// Compiled against the package's types and run against a real server by tests/clients/test_typescript_client.py.
// It prints one JSON text a line.
import { ApiError, Client, InvalidPlan, TaskFailed, WaitTimeout } from "octollm-client";
import type { Plan } from "./plans.js";

const say = (name: string, value: unknown) => console.log(JSON.stringify([name, value]));
const scenario: string = (globalThis as any).process.argv[2];
const plans: Record<string, Plan> = JSON.parse((globalThis as any).process.argv[3]);
const client = new Client();

async function follow(): Promise<void> {
  const accepted = await client.tasks.submit("follow me", { plan: plans.slow });
  for await (const event of client.tasks.events(accepted.task_id)) say("event", [event.seq, event.type]);
  const task = await client.tasks.get(accepted.task_id);
  say("stored", task.event_seq);
}

async function everything(): Promise<void> {
  const notes = new File(["three words here"], "notes.txt", { type: "text/plain" });
  const task = await client.run("collect it", { files: [notes], plan: plans.collect });
  say("run", [task.status, task.result.data]);

  const artifact = await client.files.upload(notes);
  const content = await client.files.download(artifact.artifact_id);
  say("file", [artifact.filename, artifact.media_type, new TextDecoder().decode(content)]);

  const submitted: string[] = [];
  for (let number = 0; number < 3; number += 1) {
    submitted.push((await client.tasks.submit(`page ${number}`, { plan: plans.collect })).task_id);
  }
  const listed: string[] = [];
  for await (const one of client.tasks.iterate({ goal: "page", limit: 1 })) listed.push(one.task_id);
  say("pages", listed.reverse().join() === submitted.join());

  const key = { idempotencyKey: `key-${submitted[0]}` };
  const first = await client.tasks.submit("once", { plan: plans.collect, ...key });
  const again = await client.tasks.submit("once", { plan: plans.collect, ...key });
  say("once", first.task_id === again.task_id);

  const slow = await client.tasks.submit("slow", { plan: plans.long });
  await caught("timeout", client.tasks.wait(slow.task_id, { timeoutSeconds: 0.1 }));
  say("cancelled", (await client.tasks.cancel(slow.task_id, { reason: "enough" })).status);

  await caught("failed", client.run("no", { plan: plans.failing }));
  await caught("refused", client.tasks.submit("x", { plan: plans.wrong }));
  await caught("odd", Promise.resolve().then(() => client.tasks.get("..")));
  say("ready", (await client.operators.ready()).ready);
  say("arms", (await client.arms.list()).arms.length > 3);
}

async function caught(name: string, promise: Promise<unknown>): Promise<void> {
  try {
    say(name, await promise);
  } catch (error) {
    const of = error instanceof TaskFailed || error instanceof WaitTimeout ? error.task.status : null;
    const code = error instanceof ApiError ? [error.code, error.status, error instanceof InvalidPlan] : null;
    say(name, [(error as Error).constructor.name, of ?? code]);
  }
}

await (scenario === "follow" ? follow() : everything());
