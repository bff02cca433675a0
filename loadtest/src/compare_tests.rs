use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key(rank: u32) -> RankKey {
    RankKey::from_rules([format!("population:desc(value:{rank})")])
}

fn window(ranks: &[u32], complete: bool) -> Window {
    let hits = ranks
        .iter()
        .enumerate()
        .map(|(index, rank)| RankedHit { id: index.to_string(), key: key(*rank), distinct_value: None })
        .collect();
    Window { hits, complete, ..Window::default() }
}

fn seen(ids: &[usize]) -> Vec<SeenHit> {
    ids.iter().map(|id| SeenHit { id: id.to_string(), distinct_value: None }).collect()
}

fn object(value: Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

#[test]
fn members_of_a_tie_may_change_places_and_others_may_not() {
    let window = window(&[9, 5, 5, 1], true);
    assert_eq!(compare_page(&window, 0..4, &seen(&[0, 1, 2, 3])), Ok(()));
    assert_eq!(compare_page(&window, 0..4, &seen(&[0, 2, 1, 3])), Ok(()));
    assert!(matches!(
        compare_page(&window, 0..4, &seen(&[1, 0, 2, 3])),
        Err(PageDifference::WrongRank { position: 0, .. })
    ));
}

#[test]
fn a_boundary_through_a_tie_takes_any_of_its_members() {
    let window = window(&[9, 5, 5, 5, 1], true);
    assert_eq!(compare_page(&window, 0..2, &seen(&[0, 3])), Ok(()));
    assert_eq!(compare_page(&window, 2..4, &seen(&[1, 3])), Ok(()));
    assert!(matches!(compare_page(&window, 0..2, &seen(&[0, 4])), Err(PageDifference::WrongRank { .. })));
}

#[test]
fn no_hit_may_appear_twice_even_within_its_tie() {
    let window = window(&[5, 5, 5], true);
    assert_eq!(
        compare_page(&window, 0..3, &seen(&[0, 1, 1])),
        Err(PageDifference::Twice { id: "1".into(), position: 2 })
    );
}

#[test]
fn a_short_or_long_page_is_a_difference() {
    let window = window(&[3, 2, 1], true);
    assert_eq!(compare_page(&window, 0..2, &seen(&[0])), Err(PageDifference::Length { expected: 2, got: 1 }));
    assert!(matches!(compare_page(&window, 2..9, &seen(&[2, 1])), Err(PageDifference::Length { .. })));
    assert_eq!(compare_page(&window, 7..9, &seen(&[])), Ok(()));
}

#[test]
fn a_document_outside_a_complete_window_is_no_hit() {
    let mut window = window(&[5, 5], true);
    window.other_keys.insert("77".into(), key(5));
    assert!(matches!(compare_page(&window, 0..2, &seen(&[0, 77])), Err(PageDifference::NotAHit { .. })));
    window.complete = false;
    assert_eq!(compare_page(&window, 0..2, &seen(&[0, 77])), Ok(()));
}

#[test]
fn a_hit_whose_rank_nobody_knows_is_undecided_only_in_a_tie_that_runs_on() {
    let mut window = window(&[9, 5, 5], false);
    window.others_unknown = true;
    assert_eq!(
        compare_page(&window, 0..2, &seen(&[0, 77])),
        Err(PageDifference::Undecided { id: "77".into(), position: 1 })
    );
    assert!(matches!(compare_page(&window, 0..2, &seen(&[77, 1])), Err(PageDifference::NotAHit { position: 0, .. })));
    window.others_unknown = false;
    assert!(matches!(compare_page(&window, 0..2, &seen(&[0, 77])), Err(PageDifference::NotAHit { .. })));
}

#[test]
fn under_distinct_equally_good_documents_may_speak_for_a_value() {
    let hit =
        |id: &str, rank, value: &str| RankedHit { id: id.into(), key: key(rank), distinct_value: Some(value.into()) };
    let mut window = Window { hits: vec![hit("a1", 9, "a"), hit("b1", 7, "b")], complete: true, ..Window::default() };
    window.other_keys.insert("a2".into(), key(9));
    window.other_keys.insert("a3".into(), key(8));
    let got = |id: &str, value: &str| SeenHit { id: id.into(), distinct_value: Some(value.into()) };
    assert_eq!(compare_page(&window, 0..2, &[got("a2", "a"), got("b1", "b")]), Ok(()));
    assert!(matches!(
        compare_page(&window, 0..2, &[got("a3", "a"), got("b1", "b")]),
        Err(PageDifference::WrongRank { position: 0, .. })
    ));
    assert!(matches!(
        compare_page(&window, 0..2, &[got("a1", "a"), got("a2", "a")]),
        Err(PageDifference::SameDistinctValueTwice { .. })
    ));
}

#[test]
fn a_window_closes_when_the_tie_at_the_page_end_does() {
    assert!(window(&[9, 5, 5, 1], false).closes(&(0..2)));
    assert!(!window(&[9, 5, 5, 5], false).closes(&(0..2)));
    assert!(window(&[9, 5, 5, 5], true).closes(&(0..2)));
    assert!(!window(&[9], false).closes(&(0..2)));
}

#[test]
fn totals_must_be_equal_and_present_on_both_sides() {
    let single = object(json!({ "estimatedTotalHits": 12, "limit": 20, "offset": 0 }));
    assert_eq!(compare_totals(&single, &single, false), Ok(()));
    let other = object(json!({ "estimatedTotalHits": 11, "limit": 20, "offset": 0 }));
    assert_eq!(compare_totals(&single, &other, false), Err("estimatedTotalHits: expected 12, got 11".to_owned()));
    assert_eq!(compare_totals(&single, &other, true), Ok(()), "under distinct it is an accident of the order");
    let paged = object(json!({ "totalHits": 12, "limit": 20, "offset": 0 }));
    assert!(compare_totals(&single, &paged, false).is_err());
}

fn facets(distribution: Value) -> Object {
    object(json!({ "facetDistribution": { "country": distribution }, "facetStats": {} }))
}

#[test]
fn facet_counts_are_compared_exactly() {
    let single = facets(json!({ "France": 3, "Italy": 2 }));
    let by_count = |_: &str| FacetOrder::ByCount;
    assert_eq!(compare_facets(&single, &single, 100, by_count), Ok(()));
    assert!(compare_facets(&single, &facets(json!({ "France": 3, "Italy": 1 })), 100, by_count).is_err());
    assert!(compare_facets(&single, &facets(json!({ "France": 3 })), 100, by_count).is_err());
    assert!(compare_facets(&single, &facets(json!({ "Italy": 2, "France": 3 })), 100, by_count).is_err());
    assert!(compare_facets(&single, &object(json!({})), 100, by_count).is_err());
}

#[test]
fn a_cut_facet_list_may_differ_only_within_its_last_count() {
    let single = facets(json!({ "France": 3, "Italy": 1 }));
    let by_count = |_: &str| FacetOrder::ByCount;
    let other_tail = facets(json!({ "France": 3, "Spain": 1 }));
    assert_eq!(compare_facets(&single, &other_tail, 2, by_count), Ok(()));
    assert!(compare_facets(&single, &other_tail, 3, by_count).is_err());
    assert!(compare_facets(&single, &other_tail, 2, |_| FacetOrder::Alphabetical).is_err());
}

#[test]
fn contents_are_compared_without_scores() {
    let id_of = |hit: &Value| hit["id"].to_string();
    let single = [json!({ "id": 1, "name": "Paris", "_rankingScore": 0.9 })];
    let same = [json!({ "id": 1, "name": "Paris", "_rankingScore": 0.8 })];
    assert_eq!(compare_contents(&single, &same, id_of), Ok(()));
    let leaking = [json!({ "id": 1, "name": "Paris", "_miroir_shard": "x" })];
    assert!(compare_contents(&single, &leaking, id_of).is_err());
}

proptest! {
    /// However ties are ordered, and wherever the page begins and ends, a page cut from the single server's ranking
    /// is accepted; moving one hit across ranks is not.
    #[test]
    fn any_order_of_ties_is_right_and_any_swap_across_ranks_is_wrong(
        mut ranks in prop::collection::vec(0u32..6, 1..40),
        shuffle in any::<u64>(),
        start in 0usize..40,
        length in 1usize..20,
    ) {
        ranks.sort_by(|a, b| b.cmp(a));
        let window = window(&ranks, true);
        let mut order: Vec<usize> = (0..ranks.len()).collect();
        fastrand::Rng::with_seed(shuffle).shuffle(&mut order);
        order.sort_by_key(|id| std::cmp::Reverse(ranks[*id]));
        let start = start.min(order.len());
        let end = (start + length).min(order.len());
        let mut page = order[start..end].to_vec();
        prop_assert_eq!(compare_page(&window, start..start + length, &seen(&page)), Ok(()));

        if let Some(across) = (1..page.len()).find(|at| ranks[page[*at]] != ranks[page[at - 1]]) {
            page.swap(across, across - 1);
            prop_assert!(compare_page(&window, start..start + length, &seen(&page)).is_err());
        }
    }

    /// A page that misses a hit of a better rank than its last one is never right.
    #[test]
    fn leaving_out_a_better_hit_is_wrong(
        mut ranks in prop::collection::vec(0u32..6, 2..40),
        left_out in 0usize..40,
    ) {
        ranks.sort_by(|a, b| b.cmp(a));
        let left_out = left_out % ranks.len();
        let length = ranks.len() - 1;
        let page: Vec<usize> = (0..ranks.len()).filter(|id| *id != left_out).collect();
        let right = ranks[left_out] == ranks[length];
        prop_assert_eq!(compare_page(&window(&ranks, true), 0..length, &seen(&page)).is_ok(), right);
    }
}
