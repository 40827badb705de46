// The TypeScript SDK's client using every feature of one server; prints a report as JSON.
//
//   node client.mjs '{"mode": "legacy" | "auto" | "2026-07-28", "plan": {...},
//                     "argv": [...], "env": {...}}'          or "url" (and "sse") instead of "argv"
//
// The steps and the report are those of tests/fixtures/exercise.py.
import {
  Client,
  SSEClientTransport,
  StreamableHTTPClientTransport,
} from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const MODERN = "2026-07-28";
const LOG_LEVEL = "io.modelcontextprotocol/logLevel";
const PATIENCE_MS = 5_000;
const { mode, plan, argv, env, url, sse } = JSON.parse(process.argv[2]);

const seen = { logs: [], listChanges: 0, updated: [] };
const textOf = (result) => result.content.map((part) => part.text ?? "").join("\n");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function eventually(condition, patience = PATIENCE_MS) {
  for (const end = Date.now() + patience; !condition() && Date.now() < end; ) await sleep(5);
  return Boolean(condition());
}

function transport() {
  if (sse) return new SSEClientTransport(new URL(url));
  if (url) return new StreamableHTTPClientTransport(new URL(url));
  const [command, ...args] = argv;
  return new StdioClientTransport({ command, args, env, stderr: "ignore" });
}

function makeClient() {
  const client = new Client(
    { name: "exercise", version: "1" },
    {
      capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} },
      versionNegotiation: { mode: mode === MODERN ? { pin: MODERN } : mode },
    },
  );
  client.setRequestHandler("sampling/createMessage", async () => ({
    role: "assistant",
    model: "none",
    content: { type: "text", text: "a poem by the client" },
  }));
  client.setRequestHandler("elicitation/create", async () => ({
    action: "accept",
    content: { name: "Ada" },
  }));
  client.setRequestHandler("roots/list", async () => ({ roots: [{ uri: "file:///home/ada" }] }));
  client.setNotificationHandler("notifications/message", ({ params }) => {
    seen.logs.push(params.data);
  });
  client.setNotificationHandler("notifications/tools/list_changed", () => {
    seen.listChanges += 1;
  });
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => {
    seen.updated.push(params.uri);
  });
  return client;
}

const client = makeClient();
const modern = () => client.getNegotiatedProtocolVersion() === MODERN;

function call([name, args], options) {
  const _meta = modern() ? { [LOG_LEVEL]: "debug" } : undefined;
  return client.callTool({ name, arguments: args, _meta }, options);
}

async function progress(wanted) {
  const values = [];
  await call(wanted, { onprogress: (step) => values.push(step.progress) });
  return values; // the SDK forgets the handler with the answer: nothing can come any more
}

async function logging(wanted) {
  if (!modern()) await client.setLoggingLevel("debug");
  const before = seen.logs.length;
  await call(wanted);
  await eventually(() => seen.logs.length - before >= (wanted[1].lines ?? 1));
  return seen.logs.slice(before);
}

async function cancellation([endless, cancelled]) {
  const abort = new AbortController();
  const options = { signal: abort.signal, onprogress: () => abort.abort("enough") };
  await call(endless, options).then(
    () => Promise.reject(new Error("the endless call ended")),
    () => undefined,
  );
  let said = "";
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; ) {
    said = textOf(await call(cancelled));
    if (said.includes(endless[1].label)) break;
  }
  return said;
}

async function listening(uris, inside) {
  if (!modern()) {
    for (const uri of uris) await client.subscribeResource({ uri });
    return inside();
  }
  const filter = uris.length ? { resourceSubscriptions: uris } : { toolsListChanged: true };
  const subscription = await client.listen(filter);
  try {
    return await inside();
  } finally {
    await subscription.close();
  }
}

// Before 2026-07-28 a server may drop what it says while no GET stream is open yet.
async function told(wanted, condition) {
  for (const end = Date.now() + PATIENCE_MS; !condition() && Date.now() < end; ) {
    if (wanted) await call(wanted);
    await eventually(condition, 500);
  }
  return Boolean(condition());
}

async function listChanged(wanted) {
  // Told unasked; from 2026-07-28 on only to who listens.
  if (!wanted) return listening([], () => told(null, () => seen.listChanges));
  return listening([], async () => {
    const before = seen.listChanges;
    return told(wanted, () => seen.listChanges > before);
  });
}

async function resourceUpdated([wanted, uri]) {
  await listening([uri], () => told(wanted, () => seen.updated.length));
  return [...new Set(seen.updated)].sort();
}

async function exercise() {
  const report = { version: client.getNegotiatedProtocolVersion() };
  const { tools } = await client.listTools();
  report.tools = [tools.map((tool) => tool.name), textOf(await call(plan.tools))];
  const failed = await call(plan.error);
  report.error = [Boolean(failed.isError), textOf(failed)];
  if (plan.progress) report.progress = await progress(plan.progress);
  if (plan.logging) report.logging = await logging(plan.logging);
  for (const feature of ["sampling", "elicitation", "roots"])
    if (plan[feature]) report[feature] = textOf(await call(plan[feature]));
  if (plan.cancellation) report.cancellation = await cancellation(plan.cancellation);
  if (plan.list_changed || plan.changes_list_at_start)
    report.list_changed = await listChanged(plan.list_changed);
  if (plan.resource_updated) report.resource_updated = await resourceUpdated(plan.resource_updated);
  return report;
}

try {
  await client.connect(transport());
  console.log(JSON.stringify(await exercise()));
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await client.close();
}
