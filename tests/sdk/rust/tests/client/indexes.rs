use meilisearch_sdk::client::SwapIndexes;
use meilisearch_sdk::errors::ErrorCode;
use meilisearch_sdk::indexes::{IndexUpdater, IndexesQuery};
use meilisearch_sdk::settings::Settings;
use meilisearch_sdk::tasks::{Task, TaskType};
use miroir_sdk_tests::*;

#[tokio::test]
async fn an_index_is_created_with_and_without_a_primary_key() {
    let client = client();
    let (with_key, without) = (new_name(), new_name());
    let task = succeed(&client, client.create_index(&with_key, Some("isbn")).await).await;
    assert_eq!(task.try_make_index(&client).expect("an index").uid, with_key);
    succeed(&client, client.create_index(&without, None).await).await;
    assert_eq!(client.get_index(&with_key).await.unwrap().primary_key.as_deref(), Some("isbn"));
    assert_eq!(client.get_index(&without).await.unwrap().primary_key, None);
    let raw = client.get_raw_index(&with_key).await.unwrap();
    assert_eq!(raw["uid"], with_key);
    fail_with(&client, ErrorCode::IndexAlreadyExists, client.create_index(&with_key, None).await).await;
}

#[tokio::test]
async fn indexes_are_listed_by_pages() {
    let client = client();
    let (first, second) = (new_index(&client).await, new_index(&client).await);
    let listed = IndexesQuery::new(&client).with_limit(1000).execute().await.unwrap();
    assert!([first, second].iter().all(|index| listed.results.iter().any(|other| other.uid == index.uid)));
    let page = IndexesQuery::new(&client).with_offset(1).with_limit(1).execute().await.unwrap();
    assert_eq!((page.offset, page.limit, page.results.len()), (1, 1, 1));
    assert!(page.total >= 2);
}

#[tokio::test]
async fn the_primary_key_of_an_empty_index_can_be_changed() {
    let client = client();
    let mut index = new_index(&client).await;
    succeed(&client, index.set_primary_key("isbn").await).await;
    assert_eq!(index.get_primary_key().await.unwrap(), Some("isbn"));
    let book = serde_json::json!({ "isbn": "a", "title": "Emma" });
    succeed(&client, index.add_documents(&[book], None).await).await;
    let again = IndexUpdater::new(&index, &client).with_primary_key("other").execute().await;
    // A code that this client has no name for.
    let failed = ended(&client, again.unwrap()).await.unwrap_failure();
    assert!(failed.error_message.contains("already has a primary key"), "{failed:?}");
}

#[tokio::test]
async fn an_index_can_be_renamed() {
    let client = client();
    let (index, name) = (film_index(&client, Settings::new()).await, new_name());
    succeed(&client, IndexUpdater::new(&index, &client).with_uid(&name).execute().await).await;
    assert_eq!(client.index(&name).get_stats().await.unwrap().number_of_documents, films().len());
    assert_eq!(refusal(client.get_raw_index(&index.uid).await), ErrorCode::IndexNotFound);
}

#[tokio::test]
async fn two_indexes_are_swapped_and_a_swap_can_rename() {
    let client = client();
    let (first, second, name) = (film_index(&client, Settings::new()).await, new_index(&client).await, new_name());
    succeed(&client, second.add_documents(&[Titled::new(1, "Emma")], None).await).await;
    let swap = SwapIndexes { indexes: (first.uid.clone(), second.uid.clone()), rename: None };
    succeed(&client, client.swap_indexes([&swap]).await).await;
    assert_eq!(first.get_document::<Titled>("1").await.unwrap().title, "Emma");
    assert_eq!(second.get_stats().await.unwrap().number_of_documents, films().len());
    let rename = SwapIndexes { indexes: (second.uid.clone(), name.clone()), rename: Some(true) };
    succeed(&client, client.swap_indexes([&rename]).await).await;
    assert_eq!(client.index(&name).get_stats().await.unwrap().number_of_documents, films().len());
    assert_eq!(refusal(client.get_raw_index(&second.uid).await), ErrorCode::IndexNotFound);
}

#[tokio::test]
async fn a_deleted_index_is_gone() {
    let client = client();
    let index = film_index(&client, Settings::new()).await;
    let name = index.uid.clone();
    let Task::Succeeded { content } = succeed(&client, index.delete().await).await else { unreachable!() };
    let TaskType::IndexDeletion { details: Some(details) } = content.update_type else { panic!("{content:?}") };
    assert_eq!(details.deleted_documents, Some(films().len()));
    assert_eq!(refusal(client.get_raw_index(&name).await), ErrorCode::IndexNotFound);
    fail_with(&client, ErrorCode::IndexNotFound, client.delete_index(&name).await).await;
}

#[tokio::test]
async fn stats_count_every_document_once() {
    let client = client();
    let index = film_index(&client, Settings::new()).await;
    let stats = index.get_stats().await.unwrap();
    assert_eq!(stats.number_of_documents, films().len());
    assert!(!stats.is_indexing);
    assert_eq!(stats.field_distribution.len(), 8);
    assert!(stats.field_distribution.values().all(|&count| count == films().len()));
    let everything = client.get_stats().await.unwrap();
    assert_eq!(everything.indexes[&index.uid].number_of_documents, films().len());
    assert!(everything.database_size > 0);
}

#[tokio::test]
async fn the_server_is_healthy_and_says_its_version() {
    let client = client();
    assert!(client.is_healthy().await);
    assert_eq!(client.health().await.unwrap().status, "available");
    assert!(client.get_version().await.unwrap().pkg_version.split('.').count() >= 3);
}
