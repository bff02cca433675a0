// API keys, and tenant tokens made of them.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { generateTenantToken } from "meilisearch/token";

import { client, clientWith, filmIndex, films, ids, idsWhere, judgesKeys, newIndex, refused, sorted, succeed } from "./support.js";

function newKey(options = {}) {
  return client.createKey({ actions: ["search"], indexes: ["*"], expiresAt: null, ...options });
}

test("a key is made, read, changed and deleted", async () => {
  const uid = randomUUID();
  const key = await newKey({ uid, name: "search", description: "For the site.", indexes: ["films*"] });
  assert.deepEqual([key.uid, key.name, key.actions, key.indexes], [uid, "search", ["search"], ["films*"]]);
  assert.equal((await client.getKey(uid)).key, key.key);
  assert.equal((await client.getKey(key.key)).uid, uid);
  const changed = await client.updateKey(key.key, { name: "site" });
  assert.deepEqual([changed.name, changed.description, changed.key], ["site", "For the site.", key.key]);
  const { results } = await client.getKeys({ limit: 1000 });
  assert.ok(results.some((listed) => listed.uid === uid));
  assert.equal((await client.getKeys({ limit: 1, offset: 1 })).results.length, 1);
  await client.deleteKey(uid);
  await refused(404, "api_key_not_found", client.getKey(uid));
});

test("a key does what it was made for and nothing else", judgesKeys, async () => {
  const [index, books] = [await filmIndex(), await newIndex()];
  const limited = clientWith((await newKey({ indexes: [index.uid] })).key);
  assert.equal((await limited.index(index.uid).search("alien")).hits[0].id, 2);
  await refused(403, "invalid_api_key", limited.index(books.uid).search(""));
  await refused(403, "invalid_api_key", limited.index(index.uid).getSettings());
  await refused(403, "invalid_api_key", limited.index(index.uid).addDocuments([{ id: 1 }]));
  await refused(403, "invalid_api_key", limited.getKeys());
  const lister = clientWith((await newKey({ actions: ["indexes.get"], indexes: [books.uid] })).key);
  const { results } = await lister.getRawIndexes();
  assert.deepEqual(results.map((listed) => listed.uid), [books.uid]);
});

test("keys that cannot be are refused", async () => {
  await refused(400, "invalid_api_key_actions", newKey({ actions: ["fly"] }));
  await refused(400, "invalid_api_key_indexes", newKey({ indexes: ["a b"] }));
  await refused(400, "invalid_api_key_expires_at", newKey({ expiresAt: "soon" }));
  await refused(400, "invalid_api_key_uid", newKey({ uid: "1" }));
});

test("who presents no key or a wrong one is refused", judgesKeys, async () => {
  await refused(401, "missing_authorization_header", clientWith(undefined).getKeys());
  await refused(403, "invalid_api_key", clientWith("wrong").getKeys());
});

for (const algorithm of ["HS256", "HS384", "HS512"]) {
  test(`a tenant token of ${algorithm} sees its part of an index`, judgesKeys, async () => {
    const index = await filmIndex({ filterableAttributes: ["director", "year"] });
    const key = await newKey({ indexes: [index.uid] });
    const token = await generateTenantToken({
      apiKey: key.key,
      apiKeyUid: key.uid,
      searchRules: { [index.uid]: { filter: 'director = "Ridley Scott"' } },
      expiresAt: new Date(Date.now() + 3_600_000),
      algorithm,
    });
    const tenant = clientWith(token);
    const own = idsWhere((film) => film.director === "Ridley Scott");
    assert.deepEqual(sorted(ids((await tenant.index(index.uid).search("")).hits)), own);
    const recent = await tenant.index(index.uid).searchGet("", { filter: "year > 1985" });
    assert.deepEqual(sorted(ids(recent.hits)), [3, 4]);
    const facets = await tenant.index(index.uid).searchForFacetValues({ facetName: "director" });
    assert.deepEqual(facets.facetHits, [{ value: "Ridley Scott", count: own.length }]);
    await refused(403, "invalid_api_key", tenant.index(index.uid).getSettings());
    await refused(403, "invalid_api_key", clientWith(`${token.slice(0, -4)}AAAA`).index(index.uid).search(""));
    await client.deleteKey(key.uid);
    await refused(403, "invalid_api_key", tenant.index(index.uid).search(""));
  });
}

test("a tenant token sees its part in several searches", judgesKeys, async () => {
  const index = await filmIndex({ filterableAttributes: ["director"] });
  const key = await newKey({ indexes: [index.uid] });
  const searchRules = { [index.uid]: { filter: 'director = "Ridley Scott"' } };
  const tenant = clientWith(await generateTenantToken({ apiKey: key.key, apiKeyUid: key.uid, searchRules }));
  const { results } = await tenant.multiSearch({ queries: [{ indexUid: index.uid, q: "" }] });
  assert.deepEqual(sorted(ids(results[0].hits)), idsWhere((film) => film.director === "Ridley Scott"));
});

test("a tenant token without rules sees everything its key sees", judgesKeys, async () => {
  const [index, books] = [await filmIndex(), await newIndex()];
  const key = await newKey({ indexes: [index.uid] });
  const tenant = clientWith(await generateTenantToken({ apiKey: key.key, apiKeyUid: key.uid }));
  assert.equal((await tenant.index(index.uid).search("")).estimatedTotalHits, films.length);
  await refused(403, "invalid_api_key", tenant.index(books.uid).search(""));
});
