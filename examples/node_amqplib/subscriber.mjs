// Bills each completed call, with amqplib alone: one line per call, in a database of its own.
//
// Run it: npm ci, then AFTERCALL_AMQP_URL=amqp://… node subscriber.mjs

import { DatabaseSync } from "node:sqlite";
import { setTimeout as wait } from "node:timers/promises";
import { gunzipSync } from "node:zlib";

import amqp from "amqplib";

const URL = process.env.AFTERCALL_AMQP_URL ?? "amqp://guest:guest@127.0.0.1:5672/";
const QUEUE = "calls.billing";

const database = new DatabaseSync(process.env.BILLING_DB ?? "billing.db");
database.exec(`
  CREATE TABLE IF NOT EXISTS seen (ce_id TEXT PRIMARY KEY);
  CREATE TABLE IF NOT EXISTS lines (call_id TEXT PRIMARY KEY, seconds REAL, cost REAL, version INTEGER, rank TEXT);
`);
const see = database.prepare("INSERT OR IGNORE INTO seen VALUES (?)");
const line = database.prepare(`
  INSERT INTO lines VALUES (?, ?, ?, ?, ?) ON CONFLICT (call_id) DO UPDATE SET
    seconds = excluded.seconds, cost = excluded.cost, version = excluded.version, rank = excluded.rank
  WHERE excluded.rank > lines.rank`);

/** Write the line of a call, once per event: the event is seen in the transaction in which its line is written. */
function bill(ceId, enriched) {
  database.exec("BEGIN IMMEDIATE");
  try {
    const isNew = see.run(ceId).changes > 0;
    if (isNew) {
      const { callId, call, version } = enriched;
      line.run(callId, seconds(call), call.cost ?? 0, version, rank(enriched));
    }
    database.exec("COMMIT");
    console.log(isNew ? `billed ${enriched.callId}` : `duplicate ${ceId}`);
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
}

/** Of several events of one call the greater wins: complete, joined from both sides, fetched last. */
function rank({ complete, provenance, timeline }) {
  return `${Number(complete)}${Number(provenance.source === "both")}${timeline.fetchedAt ?? ""}`;
}

/** How long a call was; one that nobody answered has no start. */
function seconds({ startedAt, endedAt }) {
  return startedAt && endedAt ? (Date.parse(endedAt) - Date.parse(startedAt)) / 1000 : 0;
}

/** The enriched call that a message carries, and the id of its event. */
function read({ content, properties: { contentEncoding, headers } }) {
  const enriched = JSON.parse(contentEncoding === "gzip" ? gunzipSync(content) : content);
  if (enriched.schema !== "aftercall.call/1" || !headers["ce-id"]) {
    throw new TypeError("no enriched call");
  }
  return [headers["ce-id"], enriched];
}

/**
 * Acknowledge after the work is done; what can never be done goes to calls.billing.dead.
 * Any other error ends the connection, and with it the broker has the call again.
 */
function onMessage(channel, message) {
  if (message === null) {
    throw new Error("the queue was deleted");
  }
  let event;
  try {
    event = read(message);
  } catch (error) {
    console.error(`cannot be billed: ${error.message}`);
    channel.reject(message, false);
    return;
  }
  bill(...event);
  channel.ack(message);
}

/** Take calls until the connection goes. */
async function consume() {
  const connection = await amqp.connect(URL, { heartbeat: 10 });
  connection.on("error", (error) => console.error(error.message));
  try {
    const channel = await connection.createChannel();
    const ended = new Promise((_resolve, reject) => {
      connection.once("close", () => reject(new Error("the connection is closed")));
      channel.once("error", reject);
      channel.once("handler-error", reject); // what onMessage throws
    });
    ended.catch(() => {});
    await channel.checkQueue(QUEUE); // Aftercall declares it; this only sees whether it is there
    await channel.prefetch(20);
    await channel.consume(QUEUE, (message) => onMessage(channel, message));
    console.log("waiting for calls");
    await ended;
  } finally {
    await connection.close().catch(() => {});
  }
}

for (;;) {
  await consume().catch((error) => console.error(`connecting again: ${error.message}`));
  await wait(1000);
}
