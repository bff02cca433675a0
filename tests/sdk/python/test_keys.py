"""API keys, and tenant tokens made of them."""

import datetime
import uuid

from meilisearch import Client
from support import FILMS, URL, Case, ids, ids_where, judges_keys


class Keys(Case):
    def new_key(self, **options):
        options = {"actions": ["search"], "indexes": ["*"], "expiresAt": None, **options}
        key = self.client.create_key(options)
        self.addCleanup(lambda: self.forget(key.uid))
        return key

    def forget(self, uid):
        if any(key.uid == uid for key in self.client.get_keys({"limit": 1000}).results):
            self.client.delete_key(uid)

    def test_a_key_is_made_read_changed_and_deleted(self):
        uid = str(uuid.uuid4())
        key = self.new_key(uid=uid, name="search", description="For the site.", indexes=["films*"])
        self.assertEqual((key.uid, key.name, key.actions, key.indexes), (uid, "search", ["search"], ["films*"]))
        self.assertEqual(len(key.key), 64)
        self.assertEqual(self.client.get_key(uid).key, key.key)
        self.assertEqual(self.client.get_key(key.key).uid, uid)
        changed = self.client.update_key(key.key, {"name": "site", "description": None})
        self.assertEqual((changed.name, changed.description, changed.key), ("site", None, key.key))
        self.assertIn(uid, [key.uid for key in self.client.get_keys({"limit": 1000}).results])
        page = self.client.get_keys({"limit": 1, "offset": 1})
        self.assertEqual((page.limit, page.offset, len(page.results)), (1, 1, 1))
        self.assertEqual(self.client.delete_key(uid), 204)
        self.refused(404, "api_key_not_found", self.client.get_key, uid)

    def test_the_same_uid_always_has_the_same_key(self):
        uid = str(uuid.uuid4())
        first = self.new_key(uid=uid).key
        self.refused(409, "api_key_already_exists", self.new_key, uid=uid)
        self.client.delete_key(uid)
        self.assertEqual(self.new_key(uid=uid).key, first)

    @judges_keys
    def test_a_key_does_what_it_was_made_for_and_nothing_else(self):
        films, books = self.films(), self.new_index()
        key = self.new_key(indexes=[films.uid])
        limited = Client(URL, key.key)
        self.assertEqual(limited.index(films.uid).search("alien")["hits"][0]["id"], 2)
        self.refused(403, "invalid_api_key", limited.index(books.uid).search, "")
        self.refused(403, "invalid_api_key", limited.index(films.uid).get_settings)
        self.refused(403, "invalid_api_key", limited.index(films.uid).add_documents, [{"id": 1}])
        self.refused(403, "invalid_api_key", limited.get_keys)
        writer = Client(URL, self.new_key(actions=["documents.*", "tasks.get"], indexes=[books.uid]).key)
        task = writer.index(books.uid).add_documents([{"id": 1, "title": "Emma"}])
        self.succeed(task)
        self.assertEqual({task.index_uid for task in writer.get_tasks().results}, {books.uid})

    def test_keys_that_cannot_be_are_refused(self):
        yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        bad = [
            ("invalid_api_key_actions", {"actions": ["fly"]}),
            ("invalid_api_key_indexes", {"indexes": ["a b"]}),
            ("invalid_api_key_expires_at", {"expiresAt": yesterday.isoformat()}),
            ("invalid_api_key_expires_at", {"expiresAt": "soon"}),
            ("invalid_api_key_uid", {"uid": "1"}),
        ]
        for code, options in bad:
            self.refused(400, code, self.new_key, **options)
        key = self.new_key()
        self.refused(400, "immutable_api_key_actions", self.client.update_key, key.uid, {"actions": ["*"]})

    @judges_keys
    def test_who_presents_no_key_or_a_wrong_one_is_refused(self):
        # Without a key this client presents the word `None`.
        self.refused(403, "invalid_api_key", Client(URL).get_keys)
        self.refused(403, "invalid_api_key", Client(URL, "wrong").get_keys)

    @judges_keys
    def test_a_tenant_token_sees_its_part_of_an_index(self):
        films = self.films(filterableAttributes=["director", "year"])
        key = self.new_key(indexes=[films.uid])
        rules = {films.uid: {"filter": 'director = "Ridley Scott"'}}
        token = self.client.generate_tenant_token(key.uid, rules, api_key=key.key)
        tenant = Client(URL, token).index(films.uid)
        own = ids_where(lambda film: film["director"] == "Ridley Scott")
        self.assertEqual(sorted(ids(tenant.search("", {"limit": 100})["hits"])), own)
        recent = tenant.search("", {"filter": "year > 1985"})["hits"]
        self.assertEqual(sorted(ids(recent)), [3, 4])
        found = tenant.facet_search("director")["facetHits"]
        self.assertEqual(found, [{"value": "Ridley Scott", "count": len(own)}])
        everything = self.client.generate_tenant_token(key.uid, [films.uid], api_key=key.key)
        self.assertEqual(Client(URL, everything).index(films.uid).search("")["estimatedTotalHits"], len(FILMS))

    @judges_keys
    def test_a_tenant_token_sees_its_part_in_several_searches(self):
        films = self.films(filterableAttributes=["director"])
        key = self.new_key(indexes=[films.uid])
        rules = {films.uid: {"filter": 'director = "Ridley Scott"'}}
        token = self.client.generate_tenant_token(key.uid, rules, api_key=key.key)
        answer = Client(URL, token).multi_search([{"indexUid": films.uid, "q": "", "limit": 100}])
        own = ids_where(lambda film: film["director"] == "Ridley Scott")
        self.assertEqual(sorted(ids(answer["results"][0]["hits"])), own)

    @judges_keys
    def test_a_tenant_token_that_is_not_valid_is_refused(self):
        films, other = self.films(), self.new_index()
        key = self.new_key(indexes=[films.uid])
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
        token = self.client.generate_tenant_token(key.uid, [films.uid], api_key=key.key, expires_at=soon)
        self.assertEqual(Client(URL, token).index(films.uid).search("alien")["hits"][0]["id"], 2)
        self.refused(403, "invalid_api_key", Client(URL, token).index(other.uid).search, "")
        self.refused(403, "invalid_api_key", Client(URL, token).index(films.uid).get_settings)
        forged = self.client.generate_tenant_token(key.uid, ["*"], api_key="0" * 64)
        self.refused(403, "invalid_api_key", Client(URL, forged).index(films.uid).search, "")
        self.client.delete_key(key.uid)
        self.refused(403, "invalid_api_key", Client(URL, token).index(films.uid).search, "")
