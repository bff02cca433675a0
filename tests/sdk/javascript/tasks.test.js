// Tasks and batches: filters, pages, cancelation, deletion.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, newIndex, refused, succeed } from "./support.js";

test("tasks are filtered and paged", async () => {
  const index = await newIndex();
  const added = [];
  for (let id = 0; id < 3; id += 1) added.push(await succeed(index.addDocuments([{ id }])));
  const failed = await index.addDocuments([{ id: "a b" }]).waitTask();
  const mine = (filters) => client.tasks.getTasks({ indexUids: [index.uid], ...filters });
  const uids = ({ results }) => results.map((task) => task.uid);
  const everything = await mine();
  assert.equal(everything.total, 5);
  assert.deepEqual(uids(await mine({ reverse: true })), uids(everything).reverse());
  assert.deepEqual(uids(await mine({ statuses: ["failed"] })), [failed.uid]);
  assert.equal((await mine({ types: ["documentAdditionOrUpdate"], statuses: ["succeeded"] })).total, 3);
  assert.equal((await mine({ uids: [added[0].uid, added[2].uid] })).total, 2);
  const page = await mine({ limit: 2 });
  assert.deepEqual([page.limit, page.results.length, page.from], [2, 2, failed.uid]);
  assert.deepEqual(uids(await mine({ limit: 2, from: page.next })), [added[1].uid, added[0].uid]);
  const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
  assert.equal((await mine({ beforeEnqueuedAt: tomorrow })).total, 5);
  assert.equal((await mine({ afterFinishedAt: tomorrow })).total, 0);
  assert.equal((await index.tasks.getTask(failed.uid)).error.code, "invalid_document_id");
});

test("many tasks are waited for at once", async () => {
  const index = await newIndex();
  const enqueued = await Promise.all([1, 2, 3, 4].map((id) => index.addDocuments([{ id }])));
  const tasks = await client.tasks.waitForTasks(enqueued);
  assert.deepEqual(tasks.map((task) => task.status), Array(4).fill("succeeded"));
  assert.equal((await index.getStats()).numberOfDocuments, 4);
});

test("tasks are canceled and deleted", async () => {
  const index = await newIndex();
  const task = await succeed(index.addDocuments([{ id: 1 }]));
  const canceled = await succeed(client.tasks.cancelTasks({ uids: [task.uid] }));
  assert.deepEqual([canceled.type, canceled.details.matchedTasks], ["taskCancelation", 1]);
  const deleted = await succeed(client.tasks.deleteTasks({ uids: [task.uid] }));
  assert.deepEqual([deleted.type, deleted.details.deletedTasks], ["taskDeletion", 1]);
  await refused(404, "task_not_found", client.tasks.getTask(task.uid));
});

test("batches are listed and read", async () => {
  const index = await newIndex();
  const task = await succeed(index.addDocuments([{ id: 1 }]));
  const { results, total } = await client.batches.getBatches({ uids: [task.uid] });
  assert.equal(total, 1);
  const batch = await client.batches.getBatch(results[0].uid);
  assert.equal(batch.uid, task.batchUid);
  assert.deepEqual(batch.stats.indexUids, { [index.uid]: batch.stats.totalNbTasks });
});

test("filters that cannot be are refused", async () => {
  await refused(400, "invalid_task_statuses", client.tasks.getTasks({ statuses: ["lost"] }));
  await refused(400, "invalid_task_types", client.tasks.getTasks({ types: ["magic"] }));
  await refused(400, "missing_task_filters", client.tasks.cancelTasks({}));
  await refused(400, "missing_task_filters", client.tasks.deleteTasks({}));
  await refused(404, "task_not_found", client.tasks.getTask(4_000_000_000));
  await refused(404, "batch_not_found", client.batches.getBatch(4_000_000_000));
});
