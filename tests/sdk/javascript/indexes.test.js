// The life of an index: creation, reading, changes, swaps, deletion.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, failWith, filmIndex, films, newIndex, newName, refused, succeed } from "./support.js";

test("an index is created with and without a primary key", async () => {
  const [withKey, without] = [newName(), newName()];
  const task = await succeed(client.createIndex(withKey, { primaryKey: "isbn" }));
  assert.deepEqual([task.type, task.indexUid, task.details], ["indexCreation", withKey, { primaryKey: "isbn" }]);
  await succeed(client.createIndex(without));
  assert.equal((await client.getIndex(withKey)).primaryKey, "isbn");
  assert.equal((await client.getRawIndex(without)).primaryKey, null);
  assert.equal(await client.index(withKey).fetchPrimaryKey(), "isbn");
  const info = await client.index(withKey).getRawInfo();
  assert.deepEqual(Object.keys(info).sort(), ["createdAt", "primaryKey", "uid", "updatedAt"]);
  await failWith("index_already_exists", client.createIndex(withKey));
});

test("indexes are listed by pages", async () => {
  const names = [];
  for (let n = 0; n < 3; n += 1) names.push((await newIndex()).uid);
  const { results, total } = await client.getIndexes({ limit: 1000 });
  const listed = new Set(results.map((index) => index.uid));
  assert.ok(names.every((name) => listed.has(name)));
  const page = await client.getRawIndexes({ offset: 1, limit: 1 });
  assert.deepEqual([page.offset, page.limit, page.results.length], [1, 1, 1]);
  assert.equal(page.total, total);
});

test("the primary key of an empty index can be changed", async () => {
  const index = await newIndex("id");
  const task = await succeed(client.updateIndex(index.uid, { primaryKey: "isbn" }));
  assert.equal(task.type, "indexUpdate");
  assert.equal(await index.fetchPrimaryKey(), "isbn");
  await succeed(index.addDocuments([{ isbn: "a", title: "Emma" }]));
  await failWith("index_primary_key_already_exists", index.update({ primaryKey: "other" }));
});

test("an index can be renamed", async () => {
  const [index, name] = [await filmIndex(), newName()];
  await succeed(client.updateIndex(index.uid, { uid: name }));
  assert.equal((await client.index(name).getStats()).numberOfDocuments, films.length);
  await refused(404, "index_not_found", client.getRawIndex(index.uid));
});

test("two indexes are swapped, and a swap can rename", async () => {
  const [first, second, name] = [await filmIndex(), await newIndex(), newName()];
  await succeed(second.addDocuments([{ id: 1, title: "Emma" }]));
  const task = await succeed(client.swapIndexes([{ indexes: [first.uid, second.uid], rename: false }]));
  assert.equal(task.type, "indexSwap");
  assert.equal((await first.getDocument(1)).title, "Emma");
  assert.equal((await second.search("blade runner")).hits[0].title, "Blade Runner");
  await succeed(client.swapIndexes([{ indexes: [second.uid, name], rename: true }]));
  assert.equal((await client.index(name).getStats()).numberOfDocuments, films.length);
  await refused(404, "index_not_found", client.getRawIndex(second.uid));
});

test("a deleted index is gone", async () => {
  const index = await filmIndex();
  const task = await succeed(index.delete());
  assert.deepEqual([task.type, task.details], ["indexDeletion", { deletedDocuments: films.length }]);
  await refused(404, "index_not_found", client.getRawIndex(index.uid));
  await failWith("index_not_found", client.deleteIndex(index.uid));
});

test("stats count every document once", async () => {
  const index = await filmIndex();
  const stats = await index.getStats();
  assert.equal(stats.numberOfDocuments, films.length);
  assert.equal(stats.isIndexing, false);
  const fields = Object.fromEntries(Object.keys(films[0]).map((name) => [name, films.length]));
  assert.deepEqual({ ...stats.fieldDistribution }, fields);
  const everything = await client.getStats();
  assert.equal(everything.indexes[index.uid].numberOfDocuments, films.length);
});

test("the server is healthy and says its version", async () => {
  assert.equal(await client.isHealthy(), true);
  assert.deepEqual(await client.health(), { status: "available" });
  assert.deepEqual(Object.keys(await client.getVersion()).sort(), ["commitDate", "commitSha", "pkgVersion"]);
});
