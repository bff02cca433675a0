"""The life of an index: creation, reading, changes, swaps, deletion."""

from support import FILMS, Case


class Indexes(Case):
    def test_an_index_is_created_with_and_without_a_primary_key(self):
        with_key, without = self.new_name(), self.new_name()
        task = self.succeed(self.client.create_index(with_key, {"primaryKey": "isbn"}))
        self.assertEqual((task.type, task.index_uid, task.details), ("indexCreation", with_key, {"primaryKey": "isbn"}))
        self.succeed(self.client.create_index(without))
        self.assertEqual(self.client.get_index(with_key).primary_key, "isbn")
        self.assertIsNone(self.client.get_index(without).primary_key)
        self.assertEqual(self.client.index(with_key).get_primary_key(), "isbn")
        raw = self.client.get_raw_index(with_key)
        self.assertEqual(set(raw), {"uid", "primaryKey", "createdAt", "updatedAt"})

    def test_the_first_documents_decide_the_primary_key(self):
        index = self.client.index(self.new_name())
        self.succeed(index.add_documents([{"book_id": 1, "title": "Emma"}]))
        self.assertEqual(index.get_primary_key(), "book_id")

    def test_an_index_that_exists_is_not_created_again(self):
        index = self.new_index()
        self.fail_with("index_already_exists", self.client.create_index(index.uid, {"primaryKey": "id"}))

    def test_indexes_are_listed_by_pages(self):
        names = [self.new_index().uid for _ in range(3)]
        everything = self.client.get_indexes({"limit": 1000})
        self.assertLessEqual(set(names), {index.uid for index in everything["results"]})
        page = self.client.get_raw_indexes({"offset": 1, "limit": 1})
        self.assertEqual((page["offset"], page["limit"], len(page["results"])), (1, 1, 1))
        self.assertEqual(page["total"], everything["total"])

    def test_the_primary_key_of_an_empty_index_can_be_changed(self):
        index = self.new_index("id")
        task = self.succeed(index.update(primary_key="isbn"))
        self.assertEqual(task.type, "indexUpdate")
        self.assertEqual(index.get_primary_key(), "isbn")
        self.succeed(index.add_documents([{"isbn": "a", "title": "Emma"}]))
        self.fail_with("index_primary_key_already_exists", index.update(primary_key="other"))

    def test_an_index_can_be_renamed(self):
        index, name = self.films(), self.new_name()
        self.succeed(index.update(new_uid=name))
        self.assertEqual(self.client.index(name).get_stats().number_of_documents, len(FILMS))
        self.refused(404, "index_not_found", self.client.get_index, index.uid)

    def test_two_indexes_are_swapped(self):
        films, books = self.films(), self.new_index("id")
        self.succeed(books.add_documents([{"id": 1, "title": "Emma"}]))
        task = self.succeed(self.client.swap_indexes([{"indexes": [films.uid, books.uid]}]))
        self.assertEqual(task.type, "indexSwap")
        self.assertEqual(films.get_document(1).title, "Emma")
        self.assertEqual(films.get_stats().number_of_documents, 1)
        self.assertEqual(books.search("blade runner")["hits"][0]["title"], "Blade Runner")
        self.assertEqual(books.get_stats().number_of_documents, len(FILMS))

    def test_a_swap_can_rename(self):
        films, name = self.films(), self.new_name()
        self.succeed(self.client.swap_indexes([{"indexes": [films.uid, name], "rename": True}]))
        self.assertEqual(self.client.index(name).get_stats().number_of_documents, len(FILMS))
        self.refused(404, "index_not_found", self.client.get_index, films.uid)

    def test_a_deleted_index_is_gone(self):
        index = self.films()
        task = self.succeed(index.delete())
        self.assertEqual((task.type, task.details), ("indexDeletion", {"deletedDocuments": len(FILMS)}))
        self.refused(404, "index_not_found", self.client.get_index, index.uid)
        self.fail_with("index_not_found", self.client.delete_index(index.uid))

    def test_stats_count_every_document_once(self):
        index = self.films()
        stats = index.get_stats()
        self.assertEqual(stats.number_of_documents, len(FILMS))
        self.assertIs(stats.is_indexing, False)
        everything = self.client.get_all_stats()
        fields = everything["indexes"][index.uid]["fieldDistribution"]
        self.assertEqual(fields, {name: len(FILMS) for name in FILMS[0]})
        self.assertEqual(everything["indexes"][index.uid]["numberOfDocuments"], len(FILMS))
        self.assertGreater(everything["databaseSize"], 0)

    def test_the_server_is_healthy_and_says_its_version(self):
        self.assertTrue(self.client.is_healthy())
        self.assertEqual(self.client.health(), {"status": "available"})
        self.assertEqual(set(self.client.get_version()), {"commitSha", "commitDate", "pkgVersion"})
