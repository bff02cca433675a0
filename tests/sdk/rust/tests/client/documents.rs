use meilisearch_sdk::documents::{DocumentDeletionQuery, DocumentQuery, DocumentsQuery};
use meilisearch_sdk::errors::ErrorCode;
use meilisearch_sdk::settings::Settings;
use miroir_sdk_tests::*;
use serde_json::{json, Value};

#[tokio::test]
async fn documents_are_added_in_every_format() {
    let client = client();
    let ndjson = b"{\"id\": 1, \"title\": \"Emma\"}\n{\"id\": 2, \"title\": \"Persuasion\"}\n";
    let csv = b"id:number,title\n1,Emma\n2,Persuasion\n";
    let json = br#"[{"id": 1, "title": "Emma"}, {"id": 2, "title": "Persuasion"}]"#;
    let [first, second, third, fourth] = std::array::from_fn(|_| client.index(new_name()));
    succeed(&client, first.add_documents_ndjson(&ndjson[..], Some("id")).await).await;
    succeed(&client, second.add_documents_csv(&csv[..], Some("id")).await).await;
    let raw = third.add_or_replace_unchecked_payload(&json[..], "application/json", Some("id"));
    succeed(&client, raw.await).await;
    let documents = [Titled::new(1, "Emma"), Titled::new(2, "Persuasion")];
    succeed(&client, fourth.add_documents(&documents, Some("id")).await).await;
    for index in [&first, &second, &third, &fourth] {
        assert_eq!(index.get_document::<Titled>("2").await.unwrap(), documents[1]);
        assert_eq!(index.get_stats().await.unwrap().number_of_documents, 2);
    }
    let changed = b"{\"id\": 1, \"title\": \"Sanditon\"}\n";
    succeed(&client, first.update_documents_ndjson(&changed[..], None).await).await;
    succeed(&client, second.update_documents_csv(&b"id:number,title\n1,Sanditon\n"[..], None).await).await;
    for index in [&first, &second] {
        assert_eq!(index.get_document::<Titled>("1").await.unwrap().title, "Sanditon");
    }
}

#[tokio::test]
async fn documents_are_added_and_changed_in_batches() {
    let client = client();
    let index = client.index(new_name());
    for task in index.add_documents_in_batches(&films(), Some(7), Some("id")).await.unwrap() {
        succeed(&client, Ok(task)).await;
    }
    let changes: Vec<Value> = (1..10).map(|id| json!({ "id": id, "title": format!("Film {id}") })).collect();
    for task in index.update_documents_in_batches(&changes, Some(4), None).await.unwrap() {
        succeed(&client, Ok(task)).await;
    }
    let ninth = index.get_document::<Film>("9").await.unwrap();
    assert_eq!((ninth.title.as_str(), ninth.director.as_str()), ("Film 9", "Akira Kurosawa"));
    assert_eq!(index.get_stats().await.unwrap().number_of_documents, films().len());
}

#[tokio::test]
async fn a_document_is_replaced_or_changed_in_part() {
    let client = client();
    let index = film_index(&client, Settings::new()).await;
    succeed(&client, index.add_or_replace(&[Titled::new(1, "The Final Cut")], None).await).await;
    assert_eq!(index.get_document::<Value>("1").await.unwrap(), json!({ "id": 1, "title": "The Final Cut" }));
    succeed(&client, index.add_or_update(&[Titled::new(2, "The Director's Cut")], None).await).await;
    assert_eq!(index.get_document::<Film>("2").await.unwrap().director, "Ridley Scott");
}

#[tokio::test]
async fn documents_are_listed_with_fields_and_filters() {
    let client = client();
    let index = film_index(&client, Settings::new().with_filterable_attributes(["year"])).await;
    let page = DocumentsQuery::new(&index).with_offset(2).with_limit(5).execute::<Film>().await.unwrap();
    assert_eq!((page.offset, page.limit, page.total as usize, page.results.len()), (2, 5, films().len(), 5));
    let everything = DocumentsQuery::new(&index).with_limit(1000).execute::<Film>().await.unwrap();
    let mut everything = everything.results;
    everything.sort_by_key(|film| film.id);
    assert_eq!(everything, films());
    let old = DocumentsQuery::new(&index).with_filter("year < 1980").execute::<Film>().await.unwrap();
    let mut old: Vec<u32> = old.results.iter().map(|film| film.id).collect();
    old.sort_unstable();
    assert_eq!(old, ids_where(|film| film.year < 1980));
    let title = DocumentQuery::new(&index).with_fields(["title"]).execute::<Value>("1").await.unwrap();
    assert_eq!(title, json!({ "title": "Blade Runner" }));
}

#[tokio::test]
async fn documents_are_deleted_by_id_by_ids_by_filter_and_all() {
    let client = client();
    let index = film_index(&client, Settings::new().with_filterable_attributes(["director"])).await;
    succeed(&client, index.delete_document(1).await).await;
    assert_eq!(refusal(index.get_document::<Film>("1").await), ErrorCode::DocumentNotFound);
    succeed(&client, index.delete_documents(&[2, 3, 4000]).await).await;
    let mut by_filter = DocumentDeletionQuery::new(&index);
    by_filter.with_filter("director = \"Michael Mann\"");
    succeed(&client, index.delete_documents_with(&by_filter).await).await;
    assert_eq!(index.get_stats().await.unwrap().number_of_documents, films().len() - 6);
    succeed(&client, index.delete_all_documents().await).await;
    assert_eq!(index.get_stats().await.unwrap().number_of_documents, 0);
}

#[tokio::test]
async fn what_is_no_document_is_refused_or_fails() {
    let client = client();
    let index = new_index(&client).await;
    let malformed = index.add_or_replace_unchecked_payload(&b"[{"[..], "application/json", None).await;
    assert_eq!(refusal(malformed), ErrorCode::MalformedPayload);
    let unknown = index.add_or_replace_unchecked_payload(&b"<a/>"[..], "text/xml", None).await;
    assert_eq!(refusal(unknown), ErrorCode::InvalidContentType);
    fail_with(&client, ErrorCode::InvalidDocumentId, index.add_documents(&[json!({ "id": "a b" })], None).await).await;
}
