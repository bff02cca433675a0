"""Every setting: its default, a change read back, and its reset."""

from support import Case, newer_engine

EMBEDDER = {"source": "userProvided", "dimensions": 3}

# Each setting: its name in the client's methods, a value, what reads back if that is not the value itself.
SETTINGS = [
    ("dictionary", ["J. R. R.", "W. E. B."], None),
    ("displayed_attributes", ["id", "title"], None),
    ("distinct_attribute", "director", None),
    ("facet_search_settings", False, None),
    ("faceting_settings", {"maxValuesPerFacet": 7, "sortFacetValuesBy": {"*": "alpha", "year": "count"}}, None),
    ("filterable_attributes", ["year", "genres"], None),
    ("localized_attributes", [{"attributePatterns": ["title"], "locales": ["jpn", "eng"]}], None),
    ("non_separator_tokens", ["#", "@"], None),
    ("pagination_settings", {"maxTotalHits": 50}, None),
    ("prefix_search", "disabled", None),
    ("proximity_precision", "byAttribute", None),
    ("ranking_rules", ["words", "typo", "year:desc"], None),
    ("search_cutoff_ms", 150, None),
    ("searchable_attributes", ["title", "director"], None),
    ("separator_tokens", ["&sep", "/"], None),
    ("sortable_attributes", ["year"], None),
    ("stop_words", ["of", "the"], None),
    ("synonyms", {"film": ["movie", "picture"]}, None),
    (
        "typo_tolerance",
        {
            "enabled": True,
            "minWordSizeForTypos": {"oneTypo": 6, "twoTypos": 10},
            "disableOnWords": ["heat"],
            "disableOnAttributes": ["director"],
        },
        None,
    ),
]


def plain(value):
    """A setting as JSON has it, whatever the client made of it."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(by_alias=True, exclude_none=True)
    if hasattr(value, "value"):
        value = value.value
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(inner) for inner in value]
        return items
    return value


def in_any_order(value):
    return sorted(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


class Settings(Case):
    def test_each_setting_is_read_changed_and_reset(self):
        index = self.new_index()
        for name, value, _ in SETTINGS:
            with self.subTest(setting=name):
                get, update, reset = (getattr(index, f"{verb}_{name}") for verb in ("get", "update", "reset"))
                default = plain(get())
                task = self.succeed(update(value))
                self.assertEqual(task.type, "settingsUpdate")
                read = plain(get())
                if isinstance(value, dict):
                    read = {key: inner for key, inner in read.items() if key in value}
                # Order says something where it ranks.
                ordered = name in ("ranking_rules", "searchable_attributes", "displayed_attributes")
                self.assertEqual(*((read, value) if ordered else (in_any_order(read), in_any_order(value))))
                self.succeed(reset())
                self.assertEqual(plain(get()), default)

    def test_embedders_are_read_changed_and_reset(self):
        index = self.new_index()
        self.succeed(index.update_embedders({"mine": EMBEDDER}))
        embedder = index.get_embedders().embedders["mine"]
        self.assertEqual((embedder.source, embedder.dimensions), ("userProvided", 3))
        self.succeed(index.reset_embedders())
        self.assertFalse(index.get_embedders() and index.get_embedders().embedders)

    @newer_engine
    def test_foreign_keys_are_read_changed_and_reset(self):
        self.client.update_experimental_features({"foreignKeys": True})
        index, directors = self.new_index(), self.new_index()
        keys = [{"fieldName": "director", "foreignIndexUid": directors.uid}]
        self.succeed(index.update_foreign_keys(keys))
        self.assertEqual(index.get_foreign_keys(), keys)
        self.succeed(index.reset_foreign_keys())
        self.assertEqual(index.get_foreign_keys() or [], [])

    def test_all_settings_at_once(self):
        index = self.new_index()
        default = index.get_settings()
        self.assertEqual(default["filterableAttributes"], [])
        self.assertEqual(default["searchableAttributes"], ["*"])
        self.assertEqual(default["faceting"]["maxValuesPerFacet"], 100)
        changed = {
            "filterableAttributes": ["genres", "year"],
            "sortableAttributes": ["year"],
            "stopWords": ["the"],
            "pagination": {"maxTotalHits": 100},
        }
        task = self.succeed(index.update_settings(changed))
        self.assertEqual(task.details, changed)
        read = index.get_settings()
        self.assertEqual({name: read[name] for name in changed}, changed)
        self.assertEqual({**read, **{name: default[name] for name in changed}}, default)
        self.succeed(index.reset_settings())
        self.assertEqual(index.get_settings(), default)

    def test_settings_take_effect(self):
        index = self.films(
            searchableAttributes=["title"],
            displayedAttributes=["id", "title"],
            stopWords=["the"],
            synonyms={"xenomorph": ["alien"]},
            typoTolerance={"disableOnWords": ["heat"]},
        )
        self.assertEqual(index.search("ridley")["hits"], [])
        self.assertEqual(index.search("xenomorph")["hits"], [{"id": 2, "title": "Alien"}])
        self.assertNotIn("Heat", [hit["title"] for hit in index.search("haet")["hits"]])

    def test_no_setting_shows_what_miroir_adds(self):
        index = self.films(filterableAttributes=["year"])
        self.assertEqual(index.get_filterable_attributes(), ["year"])
        self.assertNotIn("_miroir", str(index.get_settings()))
        self.succeed(index.reset_filterable_attributes())
        self.assertEqual(index.get_filterable_attributes(), [])
        self.assertEqual(index.search("blade runner")["hits"][0]["title"], "Blade Runner")

    def test_settings_that_cannot_be_are_refused(self):
        index = self.new_index()
        self.refused(400, "invalid_settings_ranking_rules", index.update_ranking_rules, ["nonsense"])
        self.refused(400, "invalid_settings_stop_words", index.update_stop_words, "the")
        self.refused(400, "invalid_settings_typo_tolerance", index.update_settings, {"typoTolerance": {"enabled": 1}})
        self.refused(400, "bad_request", index.update_settings, {"nonsense": 1})
        self.refused(404, "index_not_found", self.client.index(self.new_name()).get_settings)
