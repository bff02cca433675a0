// Searches with every parameter, facets, several searches in one request.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { client, filmIndex, films, ids, idsWhere, newerEngine, newIndex, newName, refused, sorted, succeed } from "./support.js";

const byYear = ids([...films].sort((a, b) => a.year - b.year || (a.title < b.title ? -1 : 1)));
const genres = {};
for (const genre of films.flatMap((film) => film.genres)) genres[genre] = (genres[genre] ?? 0) + 1;

describe("searching", () => {
  let index;
  before(async () => {
    index = await filmIndex({
      filterableAttributes: ["genres", "year", "director", "rating", "_geo"],
      sortableAttributes: ["year", "title", "rating", "_geo"],
    });
  });

  for (const method of ["search", "searchGet"]) {
    test(`hits are ranked, paged and counted by ${method}`, async () => {
      const answer = await index[method]("blade runner");
      assert.deepEqual(answer.hits.slice(0, 2).map((hit) => hit.title), ["Blade Runner", "Blade Runner 2049"]);
      assert.deepEqual([answer.query, answer.offset, answer.limit], ["blade runner", 0, 20]);
      const sort = ["year:asc", "title:asc"];
      const everything = await index[method]("", { limit: 1000, sort });
      assert.deepEqual(ids(everything.hits), byYear);
      assert.equal(everything.estimatedTotalHits, films.length);
      const part = await index[method]("", { offset: 10, limit: 5, sort });
      assert.deepEqual(ids(part.hits), byYear.slice(10, 15));
      const page = await index[method]("", { page: 3, hitsPerPage: 6, sort });
      assert.deepEqual(ids(page.hits), byYear.slice(12, 18));
      assert.deepEqual([page.page, page.hitsPerPage, page.totalPages, page.totalHits], [3, 6, 6, films.length]);
    });

    test(`hits show what is asked for by ${method}`, async () => {
      const { hits } = await index[method]("alien", {
        attributesToRetrieve: ["title"],
        attributesToHighlight: ["title"],
        highlightPreTag: "<b>",
        highlightPostTag: "</b>",
        attributesToCrop: ["director"],
        cropLength: 1,
        cropMarker: "+",
        showMatchesPosition: true,
        showRankingScore: true,
        showRankingScoreDetails: true,
      });
      const { _rankingScore, _rankingScoreDetails, ...shown } = hits[0];
      assert.deepEqual(shown, {
        title: "Alien",
        _formatted: { title: "<b>Alien</b>", director: "Ridley+" },
        _matchesPosition: { title: [{ start: 0, length: 5 }] },
      });
      assert.ok(_rankingScore > 0 && _rankingScore <= 1);
      assert.ok(_rankingScoreDetails.words);
    });

    test(`filters, distinct, strategies and thresholds by ${method}`, async () => {
      const filters = [
        ["year >= 2000", (film) => film.year >= 2000],
        ['director IN ["Jane Campion", "Akira Kurosawa"]', (film) => /Campion|Kurosawa/.test(film.director)],
        ["genres = Crime AND NOT year < 2000", (film) => film.genres.includes("Crime") && film.year >= 2000],
      ];
      for (const [filter, condition] of filters) {
        const { hits } = await index[method]("", { filter, limit: 1000 });
        assert.deepEqual(sorted(ids(hits)), idsWhere(condition), filter);
      }
      const distinct = await index[method]("", { distinct: "director", limit: 100 });
      assert.equal(distinct.hits.length, new Set(films.map((film) => film.director)).size);
      const words = "blade unfindable";
      assert.deepEqual((await index[method](words, { matchingStrategy: "all" })).hits, []);
      assert.notDeepEqual((await index[method](words, { matchingStrategy: "last" })).hits, []);
      assert.notDeepEqual((await index[method](words, { matchingStrategy: "frequency" })).hits, []);
      assert.deepEqual((await index[method]("ridley", { attributesToSearchOn: ["title"] })).hits, []);
      const good = await index[method]("blade runner", { rankingScoreThreshold: 0.99, showRankingScore: true });
      assert.ok(good.hits.length > 0 && good.hits.every((hit) => hit._rankingScore >= 0.99));
      assert.equal((await index[method]("amelie", { locales: ["fra"] })).hits[0].title, "Amélie");
    });

    test(`facets are counted by ${method}`, async () => {
      const answer = await index[method]("", { facets: ["genres", "year"] });
      assert.deepEqual({ ...answer.facetDistribution.genres }, genres);
      const years = films.map((film) => film.year);
      assert.deepEqual({ ...answer.facetStats.year }, { min: Math.min(...years), max: Math.max(...years) });
    });
  }

  test("filters can be lists", async () => {
    const { hits } = await index.search("", { filter: ["year > 1990", ["genres = War", "genres = Comedy"]] });
    assert.deepEqual(sorted(ids(hits)), idsWhere((film) => film.year > 1990 && /War|Comedy/.test(film.genres)));
  });

  test("places are found near and far", async () => {
    const near = await index.search("", { filter: "_geoRadius(34.05, -118.24, 20000)" });
    assert.deepEqual(sorted(ids(near.hits)), [1, 6, 7, 31]);
    const closest = await index.search("", { sort: ["_geoPoint(48.8566, 2.3522):asc"], limit: 4 });
    assert.deepEqual(sorted(ids(closest.hits).slice(0, 3)), [16, 17, 18]);
    assert.equal(closest.hits[3].id, 2);
    assert.equal(closest.hits[0]._geoDistance, 0);
  });

  test("facet values are searched", async () => {
    const found = await index.searchForFacetValues({ facetName: "director", facetQuery: "ri", filter: "year >= 1979" });
    assert.deepEqual(found.facetHits, [{ value: "Ridley Scott", count: 4 }]);
    const every = await index.searchForFacetValues({ facetName: "genres" });
    assert.deepEqual(Object.fromEntries(every.facetHits.map(({ value, count }) => [value, count])), genres);
  });

  test("several searches in one request", async () => {
    const books = await newIndex();
    await succeed(books.addDocuments([{ id: 1, title: "The Blade Itself" }, { id: 2, title: "Emma" }]));
    const { results } = await client.multiSearch({
      queries: [
        { indexUid: index.uid, q: "alien", limit: 1 },
        { indexUid: books.uid, q: "emma" },
        { indexUid: index.uid, q: "", filter: "year < 1960", facets: ["genres"] },
      ],
    });
    assert.deepEqual(results.map((result) => result.indexUid), [index.uid, books.uid, index.uid]);
    assert.deepEqual(results.map((result) => sorted(ids(result.hits))), [[2], [2], [9, 10, 11]]);
    await assert.rejects(client.multiSearch({ queries: [{ indexUid: newName(), q: "" }] }), (error) => error.cause.code === "index_not_found");
  });

  test("a federated search gives one list", async () => {
    const books = await newIndex();
    await succeed(books.addDocuments([{ id: 1, title: "Blade" }, { id: 2, title: "Emma" }]));
    const answer = await client.multiSearch({
      federation: { limit: 2, facetsByIndex: { [index.uid]: ["genres"] } },
      queries: [
        { indexUid: index.uid, q: "blade", federationOptions: { weight: 0.5 } },
        { indexUid: books.uid, q: "blade" },
      ],
    });
    assert.deepEqual(answer.hits.map((hit) => hit._federation.indexUid), [books.uid, index.uid]);
    assert.deepEqual(answer.hits.map((hit) => hit._federation.queriesPosition), [1, 0]);
    assert.equal(answer.facetsByIndex[index.uid].distribution.genres["Science Fiction"], 2);
  });

  test("fields are described", newerEngine, async () => {
    const { results } = await index.getFields({ limit: 100 });
    const named = results.map((field) => field.name);
    assert.ok(["id", "title", "genres"].every((name) => named.includes(name)));
    assert.ok(!named.some((name) => name.startsWith("_miroir")));
  });

  test("a search that cannot be done says why", async () => {
    await refused(400, "invalid_search_filter", index.search("", { filter: "minutes > 90" }));
    await refused(400, "invalid_search_sort", index.search("", { sort: ["minutes:asc"] }));
    await refused(400, "invalid_search_facets", index.search("", { facets: ["minutes"] }));
    await refused(400, "invalid_search_limit", index.search("", { limit: -1 }));
    await refused(400, "invalid_search_page", index.search("", { page: "one" }));
    await refused(400, "bad_request", index.search("", { nonsense: 1 }));
    await refused(404, "index_not_found", client.index(newName()).search(""));
  });
});

test("similar documents and hybrid searches go by vectors", async () => {
  const index = await newIndex();
  await succeed(index.updateEmbedders({ mine: { source: "userProvided", dimensions: 2 } }));
  const vectors = { 1: [1, 0], 2: [0.9, 0.1], 3: [0, 1], 4: [-1, 0] };
  const documents = Object.entries(vectors).map(([id, mine]) => ({ id: Number(id), title: id, _vectors: { mine } }));
  await succeed(index.addDocuments(documents));
  const similar = await index.searchSimilarDocuments({ id: 1, embedder: "mine", limit: 2 });
  assert.deepEqual(ids(similar.hits), [2, 3]);
  const nearest = await index.search("", {
    vector: [1, 0],
    hybrid: { semanticRatio: 1, embedder: "mine" },
    limit: 2,
    retrieveVectors: true,
  });
  assert.deepEqual(ids(nearest.hits), [1, 2]);
  assert.ok(nearest.hits[0]._vectors.mine);
});
