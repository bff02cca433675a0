// Every setting: its default, a change read back, and its reset.

import assert from "node:assert/strict";
import { test } from "node:test";

import { client, filmIndex, newerEngine, newIndex, newName, refused, sorted, succeed } from "./support.js";

// Each setting by the name in the client's methods. Where order says nothing, values come back in any order.
const settings = {
  Dictionary: ["J. R. R.", "W. E. B."],
  DisplayedAttributes: ["id", "title"],
  DistinctAttribute: "director",
  FacetSearch: false,
  Faceting: { maxValuesPerFacet: 7, sortFacetValuesBy: { "*": "alpha", year: "count" } },
  FilterableAttributes: ["genres", "year"],
  LocalizedAttributes: [{ attributePatterns: ["title"], locales: ["jpn", "eng"] }],
  NonSeparatorTokens: ["#", "@"],
  Pagination: { maxTotalHits: 50 },
  PrefixSearch: "disabled",
  ProximityPrecision: "byAttribute",
  RankingRules: ["words", "typo", "year:desc"],
  SearchCutoffMs: 150,
  SearchableAttributes: ["title", "director"],
  SeparatorTokens: ["&sep", "/"],
  SortableAttributes: ["year"],
  StopWords: ["of", "the"],
  Synonyms: { film: ["movie", "picture"] },
  TypoTolerance: {
    enabled: true,
    minWordSizeForTypos: { oneTypo: 6, twoTypos: 10 },
    disableOnWords: ["heat"],
    disableOnAttributes: ["director"],
    disableOnNumbers: true,
  },
};
const ordered = ["RankingRules", "SearchableAttributes", "DisplayedAttributes", "LocalizedAttributes"];

test("each setting is read, changed and reset", async (t) => {
  const index = await newIndex();
  for (const [name, value] of Object.entries(settings)) {
    await t.test(name, async () => {
      const initial = await index[`get${name}`]();
      const task = await succeed(index[`update${name}`](value));
      assert.equal(task.type, "settingsUpdate");
      const read = await index[`get${name}`]();
      const plain = (list) => (Array.isArray(list) && !ordered.includes(name) ? sorted(list) : list);
      assert.deepEqual(plain(read), plain(value));
      await succeed(index[`reset${name}`]());
      assert.deepEqual(await index[`get${name}`](), initial);
    });
  }
});

test("filterable attributes can say what each is for", async () => {
  const index = await newIndex();
  const rules = [
    "year",
    {
      attributePatterns: ["genre*"],
      features: { facetSearch: true, filter: { equality: true, comparison: false } },
    },
  ];
  await succeed(index.updateFilterableAttributes(rules));
  assert.deepEqual(await index.getFilterableAttributes(), rules);
  await succeed(index.resetFilterableAttributes());
  assert.deepEqual(await index.getFilterableAttributes(), []);
});

test("embedders are read, changed and reset", async () => {
  const index = await newIndex();
  await succeed(index.updateEmbedders({ mine: { source: "userProvided", dimensions: 3 } }));
  const { mine } = await index.getEmbedders();
  assert.deepEqual([mine.source, mine.dimensions], ["userProvided", 3]);
  await succeed(index.resetEmbedders());
  assert.deepEqual(await index.getEmbedders(), {});
});

test("chat settings and foreign keys are read and changed", newerEngine, async () => {
  await client.updateExperimentalFeatures({ chatCompletions: true, foreignKeys: true });
  const [index, directors] = [await newIndex(), await newIndex()];
  await succeed(index.updateChat({ description: "Films" }));
  assert.equal((await index.getChat()).description, "Films");
  const keys = [{ fieldName: "director", foreignIndexUid: directors.uid }];
  await succeed(index.updateForeignKeys(keys));
  assert.deepEqual(await index.getForeignKeys(), keys);
  await succeed(index.resetForeignKeys());
});

test("all settings at once", async () => {
  const index = await newIndex();
  const initial = await index.getSettings();
  assert.deepEqual(initial.filterableAttributes, []);
  assert.deepEqual(initial.searchableAttributes, ["*"]);
  const changed = {
    filterableAttributes: ["genres", "year"],
    sortableAttributes: ["year"],
    stopWords: ["the"],
    pagination: { maxTotalHits: 100 },
  };
  const task = await succeed(index.updateSettings(changed));
  assert.deepEqual(task.details, changed);
  assert.deepEqual(await index.getSettings(), { ...initial, ...changed });
  await succeed(index.resetSettings());
  assert.deepEqual(await index.getSettings(), initial);
});

test("settings take effect, and none shows what Miroir adds", async () => {
  const index = await filmIndex({
    searchableAttributes: ["title"],
    displayedAttributes: ["id", "title"],
    filterableAttributes: ["year"],
    synonyms: { xenomorph: ["alien"] },
  });
  assert.deepEqual((await index.search("ridley")).hits, []);
  assert.deepEqual((await index.search("xenomorph")).hits, [{ id: 2, title: "Alien" }]);
  assert.ok(!JSON.stringify(await index.getSettings()).includes("_miroir"));
  await succeed(index.resetFilterableAttributes());
  assert.deepEqual(await index.getFilterableAttributes(), []);
});

test("settings that cannot be are refused", async () => {
  const index = await newIndex();
  await refused(400, "invalid_settings_ranking_rules", index.updateRankingRules(["nonsense"]));
  await refused(400, "invalid_settings_stop_words", index.updateStopWords("the"));
  await refused(400, "bad_request", index.updateSettings({ nonsense: 1 }));
  await refused(404, "index_not_found", client.index(newName()).getSettings());
});
