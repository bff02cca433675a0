use std::collections::BTreeSet;

use super::*;

fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

fn corpus() -> Corpus {
    let documents = (0..50)
        .map(|id| {
            object(json!({
                "id": id,
                "name": format!("Nové Město {id}"),
                "country": if id % 2 == 0 { "Czech Republic" } else { "Slovakia" },
                "tags": ["old", "walled town"],
                "population": id * 10,
                "_geo": { "lat": 50.0, "lng": f64::from(id) },
            }))
        })
        .collect();
    let settings = json!({
        "searchableAttributes": ["name", "country", "tags"],
        "filterableAttributes": ["country", "tags", "population", "_geo"],
        "sortableAttributes": ["name", "population", "_geo"],
    });
    Corpus::new("id".into(), documents, &object(settings))
}

#[test]
fn the_seed_alone_decides_the_queries() {
    let corpus = corpus();
    assert_eq!(cases(&corpus, 300, 7), cases(&corpus, 300, 7));
    assert_ne!(cases(&corpus, 300, 7), cases(&corpus, 300, 8));
}

#[test]
fn every_kind_comes_up() {
    let kinds: BTreeSet<Kind> = cases(&corpus(), 2_000, 1).into_iter().map(|case| case.kind).collect();
    assert_eq!(kinds.len(), SHARES.len());
}

#[test]
fn an_index_of_bare_documents_still_gets_queries() {
    let corpus = Corpus::new("id".into(), vec![object(json!({ "id": 1 }))], &Object::new());
    let cases = cases(&corpus, 100, 3);
    assert_eq!(cases.len(), 100);
    assert!(cases.iter().all(|case| !case.body.contains_key("sort") && !case.body.contains_key("facets")));
}

#[test]
fn distinct_is_asked_only_by_fields_with_one_value() {
    let fields: BTreeSet<String> = cases(&corpus(), 2_000, 5)
        .into_iter()
        .filter_map(|case| case.body.get("distinct").and_then(Value::as_str).map(str::to_owned))
        .collect();
    assert_eq!(fields, BTreeSet::from(["country".to_owned()]));
}

#[test]
fn a_typo_changes_a_word_by_one_edit_and_keeps_its_first_letter() {
    let mut rng = Rng::with_seed(11);
    for _ in 0..200 {
        let Some(typed) = with_typo("bratislava", &mut rng) else { panic!("a long word can be misspelt") };
        assert!(typed.starts_with('b'));
        assert!((9..=11).contains(&typed.chars().count()), "{typed}");
    }
    assert_eq!(with_typo("Brno", &mut rng), None, "a short word tolerates no typo");
}

#[test]
fn a_cut_text_keeps_at_least_one_letter_of_its_last_word() {
    let mut rng = Rng::with_seed(2);
    for _ in 0..100 {
        let Some(typed) = cut("nové město", &mut rng) else { panic!("there is a word to cut") };
        assert!(typed.starts_with("nové m") && typed != "nové město", "{typed}");
    }
}
