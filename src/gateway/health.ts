import type { Context, Hono } from "hono";
import { EtcdError } from "../base/errors.ts";
import { AlarmType } from "../gen/etcdserverpb/maintenance_pb.ts";
import type { EtcdServer } from "../server/server.ts";
import { wireErrors } from "../services/error_table.ts";
import type { GatewayEnv } from "./app.ts";
import { onlyGet, plainText } from "./plain_answers.ts";

type Check = (server: EtcdServer) => Promise<void> | void;

/** The checks of /livez and /readyz, by name (etcd 3.5.11 and later). A check fails by throwing. */
const checks: Readonly<Record<"livez" | "readyz", Readonly<Record<string, Check>>>> = {
  livez: { serializable_read: readLocally },
  readyz: {
    data_corruption: ({ alarms }) => {
      if (alarms.corrupt) throw new Error("alarm activated: CORRUPT");
    },
    serializable_read: readLocally,
    linearizable_read: (server) => server.readBarrier().then(() => readLocally(server)),
    non_learner: ({ cluster }) => {
      if (cluster.local?.isLearner === true) throw new Error("not supported for learner");
    },
  },
};

/** Adds /health, /livez and /readyz. */
export function healthRoutes(app: Hono<GatewayEnv>, server: EtcdServer): void {
  app.all("/health", (context) => onlyGet(context) ?? health(context, server));
  for (const kind of ["livez", "readyz"] as const) {
    app.all(`/${kind}`, (context) => {
      const excluded = new Set(context.req.queries("exclude") ?? []);
      const names = Object.keys(checks[kind]).filter((name) => !excluded.has(name));
      return onlyGet(context) ?? report(context, server, kind, names);
    });
    for (const name of Object.keys(checks[kind])) {
      app.all(`/${kind}/${name}`, (context) => onlyGet(context) ?? report(context, server, kind, [name]));
    }
  }
}

/** The older check: one JSON object that says "true" or why not. */
async function health(context: Context<GatewayEnv>, server: EtcdServer): Promise<Response> {
  const reason = await whyUnhealthy(context, server);
  const { metrics } = server;
  if (reason === "") {
    metrics.healthSuccesses += 1;
    return context.body('{"health":"true","reason":""}', 200, {
      "content-type": "text/plain; charset=utf-8",
    });
  }
  metrics.healthFailures += 1;
  return context.body(`${JSON.stringify({ health: "false", reason })}\n`, 503, plainText);
}

async function whyUnhealthy(context: Context<GatewayEnv>, server: EtcdServer): Promise<string> {
  const excluded = context.req.queries("exclude") ?? [];
  const serializable = context.req.query("serializable") === "true";
  for (const { type } of server.alarms.list(AlarmType.NONE)) {
    const name = type === AlarmType.NOSPACE ? "NOSPACE" : type === AlarmType.CORRUPT ? "CORRUPT" : "UNKNOWN";
    if (!excluded.includes(name)) return `ALARM ${name}`;
  }
  if (!serializable && server.leader === 0n) return "RAFT NO LEADER";
  try {
    if (!serializable) await server.readBarrier();
    readLocally(server);
    return "";
  } catch (error) {
    return `RANGE ERROR:${textOf(error)}`;
  }
}

async function report(
  context: Context<GatewayEnv>,
  server: EtcdServer,
  kind: "livez" | "readyz",
  names: readonly string[],
): Promise<Response> {
  let text = "";
  let failed = false;
  for (const name of names) {
    const error = await failureOf(checks[kind][name]!, server);
    failed ||= error !== undefined;
    text += error === undefined ? `[+]${name} ok\n` : `[-]${name} failed: ${error}\n`;
    server.metrics.healthChecks.record(kind, name, error === undefined ? "success" : "error");
  }
  if (failed) return context.body(`${text}\n`, 503, plainText);
  const verbose = context.req.query("verbose") !== undefined;
  return context.body(verbose ? `${text}ok\n` : "ok\n", 200, plainText);
}

async function failureOf(check: Check, server: EtcdServer): Promise<string | undefined> {
  try {
    await check(server);
    return undefined;
  } catch (error) {
    return textOf(error);
  }
}

/** A read as the health checks of etcd make it: of no key in particular, of the local store. */
function readLocally({ store, metrics, ports: { clock } }: EtcdServer): void {
  const startedMs = clock.monotonicMs();
  store.range({ key: new Uint8Array(0), rangeEnd: new Uint8Array(0), limit: 1, keysOnly: true });
  const tookMs = clock.monotonicMs() - startedMs;
  metrics.onRange(true, tookMs, tookMs);
}

function textOf(error: unknown): string {
  return error instanceof EtcdError ? wireErrors[error.code][1] : (error as Error).message;
}
