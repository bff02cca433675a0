"""What all tests of the Python client share: the server under test, the films, and an index of each test's own.

MEILI_URL and MEILI_KEY name the server; MEILI_ENGINE is `embedded` where its nodes are Miroir's own, whose engine is
an older Meilisearch's; MEILI_SERVER is `node` where it is such a node itself, which leaves the judging of keys to Miroir.
"""

import json
import os
import pathlib
import unittest
import uuid

from meilisearch import Client
from meilisearch.errors import MeilisearchApiError

URL = os.environ["MEILI_URL"]
KEY = os.environ["MEILI_KEY"]
FILMS = json.loads((pathlib.Path(__file__).parent.parent / "films.json").read_text())

# A task may wait for others on a busy machine.
TASK_PATIENCE_MS = 120_000

# For what a newer Meilisearch has than the embedded nodes' engine.
newer_engine = unittest.skipIf(
    os.environ.get("MEILI_ENGINE") == "embedded", "the embedded nodes' engine is older than this"
)

judges_keys = unittest.skipIf(
    (os.environ.get("MEILI_ENGINE"), os.environ.get("MEILI_SERVER")) == ("embedded", "node"),
    "an embedded node by itself takes any request that comes with its own key, and no other",
)


class Case(unittest.TestCase):
    def setUp(self):
        self.client = Client(URL, KEY)
        self.names = 0
        self.prefix = f"python-{uuid.uuid4().hex[:8]}"

    def new_name(self):
        self.names += 1
        return f"{self.prefix}-{self.names}"

    def new_index(self, primary_key="id"):
        """An empty index."""
        name = self.new_name()
        self.succeed(self.client.create_index(name, {"primaryKey": primary_key}))
        return self.client.index(name)

    def films(self, **settings):
        """An index of all films."""
        index = self.client.index(self.new_name())
        task = index.add_documents(FILMS, "id")
        if settings:
            self.succeed(index.update_settings(settings))
        self.succeed(task)
        return index

    def ended(self, task):
        return self.client.wait_for_task(task.task_uid, timeout_in_ms=TASK_PATIENCE_MS)

    def succeed(self, task):
        ended = self.ended(task)
        self.assertEqual(ended.status, "succeeded", ended.error)
        return ended

    def fail_with(self, code, task):
        ended = self.ended(task)
        self.assertEqual((ended.status, (ended.error or {}).get("code")), ("failed", code), ended)
        return ended

    def refused(self, status, code, call, *args, **kwargs):
        with self.assertRaises(MeilisearchApiError) as caught:
            call(*args, **kwargs)
        self.assertEqual((caught.exception.status_code, caught.exception.code), (status, code), caught.exception)
        return caught.exception


def ids(hits):
    return [hit["id"] for hit in hits]


def ids_where(condition):
    return sorted(film["id"] for film in FILMS if condition(film))
