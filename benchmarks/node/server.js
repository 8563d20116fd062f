// The hand-made Node build: Fastify, better-sqlite3 and ioredis, as a good team would write it.
//
// All alerts of one turn of the event loop share one transaction with fsync, and one pipeline to
// Redis. It promises less than Vyrox: a row and a queue entry, but no audit chain, no redelivery
// decision, no limits and no second tenant.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

import Database from "better-sqlite3";
import Fastify from "fastify";
import Redis from "ioredis";

const { BENCH_SECRET, BENCH_DATABASE, BENCH_REDIS_SOCKET, BENCH_PORT } = process.env;

const database = new Database(BENCH_DATABASE);
database.pragma("journal_mode = WAL");
database.pragma("synchronous = FULL");
database.exec(`CREATE TABLE alerts (
  id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, received_at REAL NOT NULL, alert TEXT NOT NULL,
  raw BLOB NOT NULL
)`);
database.exec("CREATE INDEX alerts_tenant ON alerts (tenant_id, received_at)");
const insert = database.prepare("INSERT INTO alerts VALUES (?, ?, ?, ?, ?)");
const insertAll = database.transaction((batch) => {
  for (const each of batch) {
    insert.run(each.alert.id, each.alert.tenant_id, each.receivedAt, each.text, each.raw);
  }
});
const redis = new Redis({ path: BENCH_REDIS_SOCKET, enableAutoPipelining: true });

let waiting = [];

function store(entry) {
  return new Promise((resolve, reject) => {
    waiting.push({ ...entry, resolve, reject });
    if (waiting.length === 1) setImmediate(writeBatch);
  });
}

function writeBatch() {
  const batch = waiting;
  waiting = [];
  try {
    insertAll(batch);
  } catch (error) {
    for (const each of batch) each.reject(error);
    return;
  }
  for (const each of batch) {
    redis
      .xadd(`alerts:${each.alert.tenant_id}`, "*", "alert", each.text, "raw", each.raw)
      .then(each.resolve, each.reject);
  }
}

function isSigned(body, signature) {
  const expected = Buffer.from("sha256=" + createHmac("sha256", BENCH_SECRET).update(body).digest("hex"));
  const given = Buffer.from(signature ?? "");
  return given.length === expected.length && timingSafeEqual(given, expected);
}

const app = Fastify({ bodyLimit: 1048576 });
app.removeAllContentTypeParsers();
app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));

app.post("/webhook/crowdstrike", async (request, reply) => {
  const raw = request.body;
  if (!isSigned(raw, request.headers["x-vyrox-signature"])) {
    return reply.code(401).send({ detail: "unauthorized" });
  }
  const sent = JSON.parse(raw);
  const alert = {
    id: randomUUID(),
    tenant_id: sent.customer_id,
    source: "crowdstrike",
    raw_id: sent.detect_id,
    timestamp: sent.timestamp,
    hostname: sent.sensor.hostname,
    device_id: sent.sensor.agent_id,
    username: sent.process.user_name,
    process_name: sent.process.file_name,
    process_cmdline: sent.process.command_line,
    sha256: sent.process.sha256,
    tactic: sent.tactic,
    technique: sent.technique,
    severity: sent.severity,
  };
  await store({ alert, text: JSON.stringify(alert), raw, receivedAt: Date.now() / 1000 });
  return reply.code(202).send({ status: "queued", alert_id: alert.id });
});

process.on("SIGTERM", () => process.exit(0));
await app.listen({ host: "127.0.0.1", port: Number(BENCH_PORT) });
