// Documents in every format, read back, changed and deleted.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, failWith, filmIndex, films, idsWhere, newIndex, newName, refused, sorted, succeed } from "./support.js";

test("documents are added in every format", async () => {
  const formats = [
    ['[{"id": 1, "title": "Emma"}, {"id": 2, "title": "Persuasion"}]', "application/json", {}],
    ['{"id": 1, "title": "Emma"}\n{"id": 2, "title": "Persuasion"}\n', "application/x-ndjson", {}],
    ["id:number,title\n1,Emma\n2,Persuasion\n", "text/csv", {}],
    ["id:number;title\n1;Emma\n2;Persuasion\n", "text/csv", { csvDelimiter: ";" }],
  ];
  for (const [text, type, options] of formats) {
    const index = client.index(newName());
    const task = await succeed(index.addDocumentsFromString(text, type, { primaryKey: "id", ...options }));
    assert.deepEqual(task.details, { receivedDocuments: 2, indexedDocuments: 2 }, type);
    assert.deepEqual(await index.getDocument(2), { id: 2, title: "Persuasion" }, type);
    await succeed(index.updateDocumentsFromString(text.replace("Emma", "Sanditon"), type, options));
    assert.equal((await index.getDocument(1)).title, "Sanditon", type);
    assert.equal((await index.getStats()).numberOfDocuments, 2, type);
  }
});

test("documents are added and changed in batches", async () => {
  const index = client.index(newName());
  for (const task of index.addDocumentsInBatches(films, 7, { primaryKey: "id" })) await succeed(task);
  const changes = films.slice(0, 9).map(({ id }) => ({ id, seen: true }));
  for (const task of index.updateDocumentsInBatches(changes, 4)) await succeed(task);
  assert.equal((await index.getDocument(9)).seen, true);
  assert.equal((await index.getDocument(9)).director, "Akira Kurosawa");
  assert.equal((await index.getStats()).numberOfDocuments, films.length);
});

test("a document is replaced or changed in part", async () => {
  const index = await filmIndex();
  await succeed(index.addDocuments([{ id: 1, title: "The Final Cut" }]));
  assert.deepEqual(await index.getDocument(1), { id: 1, title: "The Final Cut" });
  await succeed(index.updateDocuments([{ id: 2, title: "Alien: The Director's Cut" }]));
  assert.equal((await index.getDocument(2)).director, "Ridley Scott");
});

test("a write carries its own metadata", async () => {
  const index = client.index(newName());
  const task = await succeed(index.addDocuments([{ id: 1 }], { primaryKey: "id", customMetadata: "import 7" }));
  assert.equal(task.customMetadata, "import 7");
});

test("documents are listed with fields, filters, sorting and ids", async () => {
  const index = await filmIndex({ filterableAttributes: ["year"], sortableAttributes: ["year", "title"] });
  const page = await index.getDocuments({ limit: 5, offset: 2, fields: ["id", "title"] });
  assert.deepEqual([page.limit, page.offset, page.total, page.results.length], [5, 2, films.length, 5]);
  assert.deepEqual(Object.keys(page.results[0]).sort(), ["id", "title"]);
  const everything = await index.getDocuments({ limit: 1000 });
  assert.deepEqual(everything.results.sort((a, b) => a.id - b.id), films);
  const old = await index.getDocuments({ filter: "year < 1980" });
  assert.deepEqual(sorted(old.results.map((film) => film.id)), idsWhere((film) => film.year < 1980));
  const byYear = await index.getDocuments({ sort: ["year:asc", "title:asc"], limit: 3 });
  assert.deepEqual(byYear.results.map((film) => film.id), [10, 11, 9]);
  const some = await index.getDocuments({ ids: [1, 5, 4000] });
  assert.deepEqual(sorted(some.results.map((film) => film.id)), [1, 5]);
  assert.deepEqual(await index.getDocument(1, { fields: ["title"] }), { title: "Blade Runner" });
});

test("documents are deleted by id, by ids, by filter, and all", async () => {
  const index = await filmIndex({ filterableAttributes: ["director"] });
  const one = await succeed(index.deleteDocument(1));
  assert.equal(one.details.deletedDocuments, 1);
  await refused(404, "document_not_found", index.getDocument(1));
  const two = await succeed(index.deleteDocuments([2, 3, 4000]));
  assert.equal(two.details.deletedDocuments, 2);
  const filtered = await succeed(index.deleteDocuments({ filter: 'director = "Michael Mann"' }));
  assert.equal(filtered.details.deletedDocuments, 3);
  assert.equal((await index.getStats()).numberOfDocuments, films.length - 6);
  await succeed(index.deleteAllDocuments());
  assert.equal((await index.getStats()).numberOfDocuments, 0);
});

test("what is no document is refused or fails", async () => {
  const index = await newIndex();
  await refused(400, "malformed_payload", index.addDocumentsFromString("[{", "application/json"));
  await refused(415, "invalid_content_type", index.addDocumentsFromString("<a/>", "text/xml"));
  await failWith("invalid_document_id", index.addDocuments([{ id: "a b" }]));
  await refused(404, "document_not_found", index.getDocument("none"));
});
