use meilisearch_sdk::errors::ErrorCode;
use meilisearch_sdk::tasks::{TasksCancelQuery, TasksDeleteQuery, TasksSearchQuery};
use miroir_sdk_tests::*;
use serde_json::json;
use time::{Duration, OffsetDateTime};

#[tokio::test]
async fn tasks_are_filtered_and_paged() {
    let client = client();
    let index = new_index(&client).await;
    let mut uids = Vec::new();
    for id in 0..3 {
        uids.push(succeed(&client, index.add_documents(&[json!({ "id": id })], None).await).await.get_uid());
    }
    let failed = ended(&client, index.add_documents(&[json!({ "id": "a b" })], None).await.unwrap()).await;
    let everything = index.get_tasks().await.unwrap();
    assert_eq!(everything.total, 5);
    let mut query = TasksSearchQuery::new(&client);
    query.with_index_uids([index.uid.as_str()]).with_statuses(["failed"]);
    let results = query.execute().await.unwrap().results;
    assert_eq!(results.iter().map(|task| task.get_uid()).collect::<Vec<_>>(), [failed.get_uid()]);
    let mut query = TasksSearchQuery::new(&client);
    query.with_index_uids([index.uid.as_str()]).with_types(["documentAdditionOrUpdate"]).with_reverse(true);
    let results = query.execute().await.unwrap().results;
    assert_eq!(results.iter().take(3).map(|task| task.get_uid()).collect::<Vec<_>>(), uids);
    let mut query = TasksSearchQuery::new(&client);
    let page = query.with_index_uids([index.uid.as_str()]).with_limit(2).execute().await.unwrap();
    assert_eq!((page.limit, page.results.len(), page.from), (2, 2, Some(failed.get_uid())));
    let next = page.next.expect("more");
    let mut query = TasksSearchQuery::new(&client);
    let page = query.with_index_uids([index.uid.as_str()]).with_limit(2).with_from(next).execute().await.unwrap();
    assert_eq!(page.results.iter().map(|task| task.get_uid()).collect::<Vec<_>>(), [uids[1], uids[0]]);
    let tomorrow = OffsetDateTime::now_utc() + Duration::days(1);
    let mut query = TasksSearchQuery::new(&client);
    query.with_index_uids([index.uid.as_str()]).with_before_enqueued_at(&tomorrow);
    assert_eq!(query.execute().await.unwrap().total, 5);
}

#[tokio::test]
async fn tasks_are_canceled_and_deleted() {
    let client = client();
    let index = new_index(&client).await;
    let task = succeed(&client, index.add_documents(&[json!({ "id": 1 })], None).await).await;
    let uids = [task.get_uid()];
    let mut cancel = TasksCancelQuery::new(&client);
    cancel.with_uids(&uids);
    succeed(&client, client.cancel_tasks_with(&cancel).await).await;
    let mut delete = TasksDeleteQuery::new(&client);
    delete.with_uids(&uids);
    succeed(&client, client.delete_tasks_with(&delete).await).await;
    assert_eq!(refusal(client.get_task(&task).await), ErrorCode::TaskNotFound);
    assert_eq!(refusal(client.cancel_tasks_with(&TasksCancelQuery::new(&client)).await), ErrorCode::MissingTaskFilters);
}

#[tokio::test]
async fn batches_are_listed_and_read() {
    let client = client();
    let index = new_index(&client).await;
    succeed(&client, index.add_documents(&[json!({ "id": 1 })], None).await).await;
    let batches = client.get_batches().await.unwrap();
    assert!(batches.total >= 2);
    let batch = client.get_batch(batches.results[0].uid).await.unwrap();
    assert_eq!(batch.uid, batches.results[0].uid);
}
