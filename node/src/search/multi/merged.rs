//! Lists of hits, each in its own order, put into one.

use std::cmp::Ordering;

use milli_core::score_details::{compare_sort_values, ScoreDetails, WeightedScoreValue};

/// What a hit's place among those of other queries is decided by.
#[derive(Clone)]
pub struct Rank {
    pub values: Vec<WeightedScoreValue>,
    /// Decides where the values cannot.
    pub score: f64,
    /// Decides last.
    pub query: usize,
}

impl Rank {
    pub fn new(scores: &[ScoreDetails], weight: f64, query: usize) -> Self {
        Self {
            values: ScoreDetails::weighted_score_values(scores.iter(), weight).collect(),
            score: ScoreDetails::global_score(scores.iter()) * weight,
            query,
        }
    }

    /// Whether the hit was found by its meaning.
    pub fn is_semantic(&self) -> bool {
        self.values.iter().any(|value| matches!(value, WeightedScoreValue::VectorSort(_)))
    }

    fn goes_before(&self, other: &Self) -> bool {
        match self.compare(other) {
            Ordering::Greater => true,
            Ordering::Equal => self.query < other.query,
            Ordering::Less => false,
        }
    }

    /// Greater is better.
    fn compare(&self, other: &Self) -> Ordering {
        let (mut left, mut right) = (self.values.iter(), other.values.iter());
        loop {
            return match (left.next(), right.next()) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(one), Some(another)) => match compare_values(one, another) {
                    Some(Ordering::Equal) => continue,
                    Some(order) => order,
                    // Whoever has more values left is better; else the scores decide.
                    None => left
                        .len()
                        .cmp(&right.len())
                        .then(self.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal)),
                },
            };
        }
    }
}

/// `None` if the values are not of one kind. Meilisearch compares ascending distances the wrong way round here; this node
/// does not.
fn compare_values(left: &WeightedScoreValue, right: &WeightedScoreValue) -> Option<Ordering> {
    use WeightedScoreValue::{GeoSort, Sort, VectorSort, WeightedScore};
    match (left, right) {
        (WeightedScore(left) | VectorSort(left), WeightedScore(right) | VectorSort(right)) => compare(*left, *right),
        (Sort { asc, value: left }, Sort { asc: other, value: right }) if asc == other => {
            Some(compare_sort_values(*asc, left, right))
        }
        (GeoSort { asc, distance: left }, GeoSort { asc: other, distance: right }) if asc == other => {
            match (left, right) {
                (Some(left), Some(right)) => {
                    compare(*left, *right).map(|order| if *asc { order.reverse() } else { order })
                }
                (left, right) => Some(left.is_some().cmp(&right.is_some())),
            }
        }
        _ => None,
    }
}

fn compare(left: f64, right: f64) -> Option<Ordering> {
    match (left - right).abs() <= f64::EPSILON {
        true => Some(Ordering::Equal),
        false => left.partial_cmp(&right),
    }
}

/// One list after the other's best hit, as long as there are any. No list is sorted again.
pub struct Merged<H> {
    lists: Vec<std::iter::Peekable<std::vec::IntoIter<(Rank, H)>>>,
}

impl<H> Merged<H> {
    pub fn new(lists: impl IntoIterator<Item = Vec<(Rank, H)>>) -> Self {
        Self { lists: lists.into_iter().map(|list| list.into_iter().peekable()).collect() }
    }
}

impl<H> Iterator for Merged<H> {
    type Item = (Rank, H);

    fn next(&mut self) -> Option<Self::Item> {
        let mut best: Option<(usize, Rank)> = None;
        for (position, list) in self.lists.iter_mut().enumerate() {
            let Some((rank, _)) = list.peek() else { continue };
            if best.as_ref().is_none_or(|(_, best)| rank.goes_before(best)) {
                best = Some((position, rank.clone()));
            }
        }
        self.lists[best?.0].next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(values: Vec<WeightedScoreValue>, score: f64, query: usize) -> Rank {
        Rank { values, score, query }
    }

    #[test]
    fn the_nearest_comes_first_when_distances_ascend() {
        let at = |metres| rank(vec![WeightedScoreValue::GeoSort { asc: true, distance: metres }], 1.0, 0);
        let merged = Merged::new([vec![(at(Some(5.0)), "far"), (at(None), "nowhere")], vec![(at(Some(2.0)), "near")]]);
        assert_eq!(merged.map(|(_, hit)| hit).collect::<Vec<_>>(), ["near", "far", "nowhere"]);
    }

    #[test]
    fn equal_hits_are_in_the_order_of_their_queries() {
        let of = |query| rank(vec![WeightedScoreValue::WeightedScore(0.5)], 0.5, query);
        let merged = Merged::new([vec![(of(3), 'c')], vec![(of(1), 'a')], vec![(of(2), 'b')]]);
        assert_eq!(merged.map(|(_, hit)| hit).collect::<String>(), "abc");
    }
}
