"""Searches with every parameter, facets, several searches in one request."""

from meilisearch.errors import MeilisearchApiError
from support import FILMS, Case, ids, ids_where, newer_engine


class Search(Case):
    def searchable(self):
        return self.films(
            filterableAttributes=["genres", "year", "director", "rating", "_geo"],
            sortableAttributes=["year", "title", "rating", "_geo"],
        )

    def test_hits_are_ranked_paged_and_counted(self):
        index = self.searchable()
        answer = index.search("blade runner")
        self.assertEqual([hit["title"] for hit in answer["hits"][:2]], ["Blade Runner", "Blade Runner 2049"])
        self.assertEqual((answer["query"], answer["offset"], answer["limit"]), ("blade runner", 0, 20))
        self.assertIn("processingTimeMs", answer)
        self.assertEqual(sorted(ids(index.search("blaed runer")["hits"][:2])), [1, 24])
        everything = index.search("", {"limit": 1000, "sort": ["year:asc", "title:asc"]})
        by_year = [film["id"] for film in sorted(FILMS, key=lambda film: (film["year"], film["title"]))]
        self.assertEqual(ids(everything["hits"]), by_year)
        self.assertEqual(everything["estimatedTotalHits"], len(FILMS))
        window = index.search("", {"offset": 10, "limit": 5, "sort": ["year:asc", "title:asc"]})
        self.assertEqual(ids(window["hits"]), by_year[10:15])
        page = index.search("", {"page": 3, "hitsPerPage": 6, "sort": ["year:asc", "title:asc"]})
        self.assertEqual(ids(page["hits"]), by_year[12:18])
        counts = (page["page"], page["hitsPerPage"], page["totalPages"], page["totalHits"])
        self.assertEqual(counts, (3, 6, 6, len(FILMS)))

    def test_filters_and_sorting(self):
        index = self.searchable()
        cases = [
            ("year >= 2000", lambda f: f["year"] >= 2000),
            ("year 1990 TO 1999", lambda f: 1990 <= f["year"] <= 1999),
            ('genres = Crime AND NOT director = "Michael Mann"',
             lambda f: "Crime" in f["genres"] and f["director"] != "Michael Mann"),
            ('director IN ["Jane Campion", "Akira Kurosawa"]',
             lambda f: f["director"] in ("Jane Campion", "Akira Kurosawa")),
            (["year > 1990", ["genres = War", "genres = Comedy"]],
             lambda f: f["year"] > 1990 and {"War", "Comedy"} & set(f["genres"])),
            ("genres EXISTS", lambda f: True),
            ("rating IS NULL", lambda f: False),
        ]
        for filter, condition in cases:
            hits = index.search("", {"filter": filter, "limit": 1000})["hits"]
            self.assertEqual(sorted(ids(hits)), ids_where(condition), filter)
        best = index.search("", {"sort": ["rating:desc", "title:asc"], "limit": 3})["hits"]
        expected = sorted(FILMS, key=lambda f: (-f["rating"], f["title"]))[:3]
        self.assertEqual(ids(best), [film["id"] for film in expected])

    def test_places(self):
        index = self.searchable()
        near = index.search("", {"filter": "_geoRadius(34.05, -118.24, 20000)"})["hits"]
        self.assertEqual(sorted(ids(near)), [1, 6, 7, 31])
        japan = index.search("", {"filter": "_geoBoundingBox([46, 146], [29, 129])", "limit": 100})["hits"]
        inside = lambda f: 29 <= f["_geo"]["lat"] <= 46 and 129 <= f["_geo"]["lng"] <= 146
        self.assertEqual(sorted(ids(japan)), ids_where(inside))
        closest = index.search("", {"sort": ["_geoPoint(48.8566, 2.3522):asc"], "limit": 4})["hits"]
        self.assertEqual((sorted(ids(closest[:3])), closest[3]["id"]), ([16, 17, 18], 2))
        self.assertEqual(closest[0]["_geoDistance"], 0)

    def test_facets(self):
        index = self.searchable()
        answer = index.search("", {"facets": ["genres", "year"]})
        genres = {}
        for film in FILMS:
            for genre in film["genres"]:
                genres[genre] = genres.get(genre, 0) + 1
        self.assertEqual(answer["facetDistribution"]["genres"], genres)
        years = [film["year"] for film in FILMS]
        self.assertEqual(answer["facetStats"]["year"], {"min": min(years), "max": max(years)})
        every = index.search("", {"facets": ["*"], "filter": "year < 1960"})["facetDistribution"]
        self.assertEqual(every["director"], {"Akira Kurosawa": 3})
        found = index.facet_search("director", "ri", {"filter": "year >= 1979"})
        self.assertEqual(found["facetHits"], [{"value": "Ridley Scott", "count": 4}])
        self.assertEqual(found["facetQuery"], "ri")
        all_values = index.facet_search("genres")["facetHits"]
        self.assertEqual({hit["value"]: hit["count"] for hit in all_values}, genres)

    def test_what_hits_show(self):
        index = self.searchable()
        answer = index.search("alien", {
            "attributesToRetrieve": ["title"],
            "attributesToHighlight": ["title"],
            "highlightPreTag": "<b>",
            "highlightPostTag": "</b>",
            "attributesToCrop": ["director"],
            "cropLength": 1,
            "cropMarker": "+",
            "showMatchesPosition": True,
            "showRankingScore": True,
            "showRankingScoreDetails": True,
        })
        hit = answer["hits"][0]
        self.assertEqual(hit["title"], "Alien")
        self.assertEqual(hit["_formatted"], {"title": "<b>Alien</b>", "director": "Ridley+"})
        self.assertEqual(hit["_matchesPosition"]["title"], [{"start": 0, "length": 5}])
        self.assertTrue(0 < hit["_rankingScore"] <= 1)
        self.assertIn("words", hit["_rankingScoreDetails"])
        shown = {"title", "_formatted", "_matchesPosition", "_rankingScore", "_rankingScoreDetails"}
        self.assertEqual(set(hit), shown)

    def test_matching_strategies_and_attributes_searched(self):
        index = self.searchable()
        words = "blade unfindable"
        self.assertEqual(index.search(words, {"matchingStrategy": "all"})["hits"], [])
        self.assertNotEqual(index.search(words, {"matchingStrategy": "last"})["hits"], [])
        self.assertNotEqual(index.search(words, {"matchingStrategy": "frequency"})["hits"], [])
        by_director = index.search("ridley", {"attributesToSearchOn": ["title"]})
        self.assertEqual(by_director["hits"], [])
        self.assertEqual(len(index.search('"blade runner"')["hits"]), 2)

    def test_distinct_threshold_and_locales(self):
        index = self.searchable()
        distinct = index.search("", {"distinct": "director", "limit": 100})["hits"]
        self.assertEqual(len(distinct), len({film["director"] for film in FILMS}))
        good = index.search("blade runner", {"rankingScoreThreshold": 0.99, "showRankingScore": True})["hits"]
        self.assertTrue(good and all(hit["_rankingScore"] >= 0.99 for hit in good))
        self.assertEqual(index.search("amelie", {"locales": ["fra"]})["hits"][0]["title"], "Amélie")

    def test_several_searches_in_one_request(self):
        films, books = self.searchable(), self.new_index()
        self.succeed(books.add_documents([{"id": 1, "title": "The Blade Itself"}, {"id": 2, "title": "Emma"}]))
        answer = self.client.multi_search([
            {"indexUid": films.uid, "q": "alien", "limit": 1},
            {"indexUid": books.uid, "q": "emma"},
            {"indexUid": films.uid, "q": "", "facets": ["genres"], "filter": "year < 1960"},
        ])
        results = answer["results"]
        self.assertEqual([result["indexUid"] for result in results], [films.uid, books.uid, films.uid])
        self.assertEqual(ids(results[0]["hits"]), [2])
        self.assertEqual(ids(results[1]["hits"]), [2])
        self.assertEqual(sorted(ids(results[2]["hits"])), [9, 10, 11])
        with self.assertRaises(MeilisearchApiError) as caught:
            self.client.multi_search([{"indexUid": self.new_name(), "q": ""}])
        self.assertEqual(caught.exception.code, "index_not_found")

    def test_federated_search_gives_one_list(self):
        films, books = self.searchable(), self.new_index()
        self.succeed(books.add_documents([{"id": 1, "title": "Blade"}, {"id": 2, "title": "Emma"}]))
        queries = [
            {"indexUid": films.uid, "q": "blade", "federationOptions": {"weight": 0.5}},
            {"indexUid": books.uid, "q": "blade"},
        ]
        answer = self.client.multi_search(queries, federation={"limit": 2, "offset": 0})
        self.assertEqual(len(answer["hits"]), 2)
        self.assertEqual(answer["hits"][0]["_federation"]["indexUid"], books.uid)
        self.assertEqual(answer["hits"][1]["_federation"], {
            "indexUid": films.uid,
            "queriesPosition": 0,
            "weightedRankingScore": answer["hits"][1]["_federation"]["weightedRankingScore"],
        })
        facets = self.client.multi_search(
            [{"indexUid": films.uid, "q": ""}],
            federation={"facetsByIndex": {films.uid: ["genres"]}},
        )
        counted = sum(facets["facetsByIndex"][films.uid]["distribution"]["genres"].values())
        self.assertEqual(counted, sum(len(film["genres"]) for film in FILMS))

    def test_similar_documents_by_their_vectors(self):
        index = self.new_index()
        self.succeed(index.update_embedders({"mine": {"source": "userProvided", "dimensions": 2}}))
        vectors = {1: [1, 0], 2: [0.9, 0.1], 3: [0, 1], 4: [-1, 0]}
        documents = [{"id": n, "title": str(n), "_vectors": {"mine": vector}} for n, vector in vectors.items()]
        self.succeed(index.add_documents(documents))
        similar = index.get_similar_documents({"id": 1, "embedder": "mine", "limit": 2})
        self.assertEqual((similar["id"], ids(similar["hits"])), ("1", [2, 3]))
        nearest = index.search("", {
            "vector": [1, 0],
            "hybrid": {"semanticRatio": 1, "embedder": "mine"},
            "limit": 2,
            "retrieveVectors": True,
        })
        self.assertEqual(ids(nearest["hits"]), [1, 2])
        self.assertIn("mine", nearest["hits"][0]["_vectors"])

    @newer_engine
    def test_fields_are_described(self):
        index = self.searchable()
        fields = index.get_fields(limit=100).results
        named = {field["name"] for field in fields}
        self.assertLessEqual(set(FILMS[0]) - {"_geo"}, named)
        self.assertFalse([name for name in named if name.startswith("_miroir")])

    def test_a_search_that_cannot_be_done_says_why(self):
        index = self.films()
        self.refused(400, "invalid_search_filter", index.search, "", {"filter": "year > 1990"})
        self.refused(400, "invalid_search_sort", index.search, "", {"sort": ["year:asc"]})
        self.refused(400, "invalid_search_facets", index.search, "", {"facets": ["year"]})
        self.refused(400, "invalid_search_limit", index.search, "", {"limit": -1})
        self.refused(400, "invalid_search_matching_strategy", index.search, "", {"matchingStrategy": "some"})
        self.refused(404, "index_not_found", self.client.index(self.new_name()).search, "")
        with self.assertRaises(MeilisearchApiError) as caught:
            index.search("", {"nonsense": 1})
        self.assertEqual(caught.exception.code, "bad_request")
