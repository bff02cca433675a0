"""Documents in every format, read back, changed and deleted."""

import json

from support import FILMS, Case, ids_where


class Documents(Case):
    def test_documents_are_added_in_every_format(self):
        as_json = json.dumps([{"id": 1, "title": "Emma"}, {"id": 2, "title": "Persuasion"}]).encode()
        as_ndjson = b'{"id": 1, "title": "Emma"}\n{"id": 2, "title": "Persuasion"}\n'
        as_csv = b"id:number,title\n1,Emma\n2,Persuasion\n"
        with_semicolons = b"id:number;title\n1;Emma\n2;Persuasion\n"
        added = [
            lambda index: index.add_documents_json(as_json, "id"),
            lambda index: index.add_documents_ndjson(as_ndjson, "id"),
            lambda index: index.add_documents_csv(as_csv, "id"),
            lambda index: index.add_documents_csv(with_semicolons, "id", csv_delimiter=";"),
            lambda index: index.add_documents_raw(as_json, "id", content_type="application/json"),
        ]
        for add in added:
            index = self.client.index(self.new_name())
            task = self.succeed(add(index))
            self.assertEqual(task.details, {"receivedDocuments": 2, "indexedDocuments": 2})
            self.assertEqual(dict(index.get_document(2)), {"id": 2, "title": "Persuasion"})
            self.assertEqual(index.get_stats().number_of_documents, 2)

    def test_documents_are_added_in_batches(self):
        index = self.client.index(self.new_name())
        tasks = index.add_documents_in_batches(FILMS, batch_size=7, primary_key="id")
        self.assertEqual(len(tasks), -(-len(FILMS) // 7))
        for task in tasks:
            self.succeed(task)
        self.assertEqual(index.get_stats().number_of_documents, len(FILMS))

    def test_a_document_is_replaced_or_changed_in_part(self):
        index = self.films()
        self.succeed(index.add_documents([{"id": 1, "title": "The Final Cut"}]))
        self.assertEqual(dict(index.get_document(1)), {"id": 1, "title": "The Final Cut"})
        self.succeed(index.update_documents([{"id": 2, "title": "Alien: The Director's Cut"}]))
        self.assertEqual(index.get_document(2).director, "Ridley Scott")
        self.succeed(index.update_documents_ndjson(b'{"id": 3, "year": 2001}\n'))
        self.succeed(index.update_documents_csv(b"id:number,year:number\n4,1992\n"))
        self.succeed(index.update_documents_json(b'[{"id": 5, "year": 2000}]'))
        years = [index.get_document(n).year for n in (3, 4, 5)]
        self.assertEqual(years, [2001, 1992, 2000])
        tasks = index.update_documents_in_batches([{"id": n, "seen": True} for n in range(6, 12)], batch_size=2)
        for task in tasks:
            self.succeed(task)
        self.assertTrue(all(index.get_document(n).seen for n in range(6, 12)))
        self.assertEqual(index.get_stats().number_of_documents, len(FILMS))

    def test_no_document_is_made_when_creation_is_skipped(self):
        index = self.new_index()
        self.succeed(index.add_documents([{"id": 1, "title": "Emma"}]))
        self.succeed(index.update_documents([{"id": 1, "year": 1815}, {"id": 2, "year": 1817}], skip_creation=True))
        self.assertEqual(index.get_stats().number_of_documents, 1)
        self.assertEqual(dict(index.get_document(1)), {"id": 1, "title": "Emma", "year": 1815})

    def test_documents_are_listed_with_fields_filters_and_ids(self):
        index = self.films(filterableAttributes=["year"], sortableAttributes=["year"])
        page = index.get_documents({"limit": 5, "offset": 2, "fields": ["id", "title"]})
        self.assertEqual((page.limit, page.offset, page.total, len(page.results)), (5, 2, len(FILMS), 5))
        self.assertEqual(set(dict(page.results[0])), {"id", "title"})
        everything = index.get_documents({"limit": 1000})
        self.assertEqual(sorted((dict(d) for d in everything.results), key=lambda d: d["id"]), FILMS)
        old = index.get_documents({"filter": "year < 1980", "limit": 100})
        self.assertEqual(sorted(d.id for d in old.results), ids_where(lambda film: film["year"] < 1980))
        self.assertEqual(old.total, len(old.results))
        self.assertEqual(dict(index.get_document(1, {"fields": ["title"]})), {"title": "Blade Runner"})

    def test_documents_are_deleted_by_id_by_ids_by_filter_and_all(self):
        index = self.films(filterableAttributes=["director", "year"])
        task = self.succeed(index.delete_document(1))
        self.assertEqual(task.details["deletedDocuments"], 1)
        self.refused(404, "document_not_found", index.get_document, 1)
        self.assertEqual(self.succeed(index.delete_documents([2, 3, 4000])).details["deletedDocuments"], 2)
        before = index.get_stats().number_of_documents
        task = self.succeed(index.delete_documents(filter='director = "Michael Mann"'))
        self.assertEqual(task.details["deletedDocuments"], 3)
        self.assertEqual(index.get_stats().number_of_documents, before - 3)
        self.succeed(index.delete_documents(filter=[["year < 1960", "year > 2010"]]))
        self.assertEqual(index.get_documents({"filter": "year < 1960 OR year > 2010"}).total, 0)
        self.succeed(index.delete_all_documents())
        self.assertEqual(index.get_stats().number_of_documents, 0)

    def test_what_is_no_document_is_refused_or_fails(self):
        index = self.new_index()
        self.refused(400, "malformed_payload", index.add_documents_json, b"[{", "id")
        self.fail_with("invalid_document_id", index.add_documents([{"id": "a b"}]))
        self.refused(404, "document_not_found", index.get_document, "none")
        self.refused(415, "invalid_content_type", index.add_documents_raw, b"<a/>", "id", content_type="text/xml")
