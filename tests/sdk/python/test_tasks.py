"""Tasks and batches: filters, pages, cancelation, deletion."""

import datetime

from support import Case


class Tasks(Case):
    def test_tasks_are_filtered_and_paged(self):
        index = self.new_index()
        added = [self.succeed(index.add_documents([{"id": n}])) for n in range(3)]
        failed = self.ended(index.add_documents([{"id": "a b"}]))
        mine = lambda **filters: self.client.get_tasks({"indexUids": [index.uid], **filters})
        everything = mine()
        self.assertEqual([task.uid for task in everything.results],
                         sorted((task.uid for task in everything.results), reverse=True))
        self.assertEqual(everything.total, 5)
        self.assertEqual([task.uid for task in mine(statuses=["failed"]).results], [failed.uid])
        self.assertEqual(mine(types=["documentAdditionOrUpdate"], statuses=["succeeded"]).total, 3)
        self.assertEqual(mine(types=["indexCreation"]).total, 1)
        self.assertEqual(mine(uids=[str(added[0].uid), str(added[2].uid)]).total, 2)
        oldest_first = mine(reverse="true")
        self.assertEqual([task.uid for task in oldest_first.results],
                         [task.uid for task in everything.results][::-1])
        page = mine(limit=2)
        self.assertEqual((page.limit, len(page.results), page.from_), (2, 2, failed.uid))
        following = mine(limit=2, **{"from": page.next_})
        self.assertEqual([task.uid for task in following.results], [added[1].uid, added[0].uid])
        now = datetime.datetime.now(datetime.timezone.utc)
        tomorrow, yesterday = now + datetime.timedelta(days=1), now - datetime.timedelta(days=1)
        as_text = lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.assertEqual(mine(beforeEnqueuedAt=as_text(tomorrow)).total, 5)
        self.assertEqual(mine(afterEnqueuedAt=as_text(tomorrow)).total, 0)
        self.assertEqual(mine(afterStartedAt=as_text(yesterday), beforeFinishedAt=as_text(tomorrow)).total, 5)
        self.assertEqual(index.get_tasks({"limit": 1}).total, 5)
        self.assertEqual(index.get_task(failed.uid).error["code"], "invalid_document_id")

    def test_a_task_tells_its_times_and_details(self):
        index = self.new_index()
        task = self.succeed(index.add_documents([{"id": 1}, {"id": 2}]))
        self.assertEqual((task.index_uid, task.type, task.canceled_by), (index.uid, "documentAdditionOrUpdate", None))
        self.assertEqual(task.details, {"receivedDocuments": 2, "indexedDocuments": 2})
        self.assertTrue(task.enqueued_at <= task.started_at <= task.finished_at)
        self.assertTrue(task.duration.startswith("PT"))

    def test_tasks_are_canceled_and_deleted(self):
        index = self.new_index()
        task = self.succeed(index.add_documents([{"id": 1}]))
        canceled = self.succeed(self.client.cancel_tasks({"uids": [str(task.uid)]}))
        self.assertEqual((canceled.type, canceled.details["matchedTasks"]), ("taskCancelation", 1))
        self.assertEqual(canceled.details["canceledTasks"], 0)
        deleted = self.succeed(self.client.delete_tasks({"indexUids": [index.uid], "statuses": ["succeeded"]}))
        self.assertEqual((deleted.type, deleted.details["matchedTasks"]), ("taskDeletion", 2))
        self.assertEqual(self.client.get_tasks({"indexUids": [index.uid]}).total, 0)
        self.refused(404, "task_not_found", self.client.get_task, task.uid)

    def test_batches_are_listed_and_read(self):
        index = self.new_index()
        task = self.succeed(index.add_documents([{"id": 1}]))
        batches = self.client.get_batches({"uids": [str(task.uid)]})
        self.assertEqual(batches.total, 1)
        batch = self.client.get_batch(batches.results[0].uid)
        self.assertEqual(batch.stats["types"], {"documentAdditionOrUpdate": batch.stats["totalNbTasks"]})
        self.assertEqual(batch.stats["indexUids"], {index.uid: batch.stats["totalNbTasks"]})
        self.assertIsNotNone(batch.finished_at)
        self.assertGreaterEqual(self.client.get_batches({"limit": 1}).total, 2)

    def test_filters_that_cannot_be_are_refused(self):
        self.refused(400, "invalid_task_statuses", self.client.get_tasks, {"statuses": ["lost"]})
        self.refused(400, "invalid_task_types", self.client.get_tasks, {"types": ["magic"]})
        self.refused(400, "invalid_task_uids", self.client.get_tasks, {"uids": ["a"]})
        self.refused(400, "invalid_task_limit", self.client.get_tasks, {"limit": "many"})
        self.refused(400, "missing_task_filters", self.client.cancel_tasks, {})
        self.refused(400, "missing_task_filters", self.client.delete_tasks, {})
        self.refused(404, "task_not_found", self.client.get_task, 4_000_000_000)
        self.refused(404, "batch_not_found", self.client.get_batch, 4_000_000_000)
