// What all tests of the JavaScript client share: the server under test, the films, and indexes of each test's own.
//
// MEILI_URL and MEILI_KEY name the server; MEILI_ENGINE is `embedded` where its nodes are Miroir's own, whose engine is
// an older Meilisearch's; MEILI_SERVER is `node` where it is such a node itself, which leaves the judging of keys to
// Miroir.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { Meilisearch, MeilisearchApiError } from "meilisearch";

export const URL_OF_SERVER = process.env.MEILI_URL;
export const films = JSON.parse(readFileSync(new URL("../films.json", import.meta.url), "utf8"));

// For what a newer Meilisearch has than the embedded nodes' engine: options of a test.
export const newerEngine = {
  skip: process.env.MEILI_ENGINE === "embedded" && "the embedded nodes' engine is older than this",
};

export const judgesKeys = {
  skip:
    process.env.MEILI_ENGINE === "embedded" &&
    process.env.MEILI_SERVER === "node" &&
    "an embedded node by itself takes any request that comes with its own key, and no other",
};

// A task may wait for others on a busy machine.
const defaultWaitOptions = { timeout: 120_000, interval: 50 };

export function clientWith(apiKey) {
  return new Meilisearch({ host: URL_OF_SERVER, apiKey, defaultWaitOptions });
}

export const client = clientWith(process.env.MEILI_KEY);

let names = 0;
const prefix = `javascript-${randomUUID().slice(0, 8)}`;

export function newName() {
  names += 1;
  return `${prefix}-${names}`;
}

export async function succeed(enqueued) {
  const task = await enqueued.waitTask();
  assert.equal(task.status, "succeeded", JSON.stringify(task.error));
  return task;
}

export async function failWith(code, enqueued) {
  const task = await enqueued.waitTask();
  assert.deepEqual([task.status, task.error?.code], ["failed", code]);
  return task;
}

/** An empty index. */
export async function newIndex(primaryKey = "id") {
  const name = newName();
  await succeed(client.createIndex(name, { primaryKey }));
  return client.index(name);
}

/** An index of all films. */
export async function filmIndex(settings) {
  const index = client.index(newName());
  await succeed(index.addDocuments(films, { primaryKey: "id" }));
  if (settings) await succeed(index.updateSettings(settings));
  return index;
}

/** Fails unless `promise` ends with this status and code. */
export async function refused(status, code, promise) {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof MeilisearchApiError, String(error));
    assert.deepEqual([error.response.status, error.cause?.code], [status, code], error.message);
    return true;
  });
}

export const ids = (hits) => hits.map((hit) => hit.id);
export const sorted = (values) => [...values].sort((a, b) => (a < b ? -1 : 1));
export const idsWhere = (condition) => films.filter(condition).map((film) => film.id);
