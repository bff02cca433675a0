//! A set of shards as a bit map: small in memory, in records and in comparisons.

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

use super::Shard;

const WORD_BITS: u32 = u64::BITS;

/// A set of one index's shards. In records it is a hexadecimal number whose lowest bit is shard 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardSet {
    /// Lowest shards first; the last word is not zero, so that equal sets are equal here.
    words: Vec<u64>,
}

impl ShardSet {
    pub fn insert(&mut self, shard: Shard) {
        let word = (shard.0 / WORD_BITS) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (shard.0 % WORD_BITS);
    }

    pub fn remove(&mut self, shard: Shard) {
        if let Some(word) = self.words.get_mut((shard.0 / WORD_BITS) as usize) {
            *word &= !(1 << (shard.0 % WORD_BITS));
            self.shrink();
        }
    }

    pub fn contains(&self, shard: Shard) -> bool {
        self.words.get((shard.0 / WORD_BITS) as usize).is_some_and(|word| word & (1 << (shard.0 % WORD_BITS)) != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = Shard> + '_ {
        let bits = |(at, &word): (usize, &u64)| {
            let first = at as u32 * WORD_BITS;
            (0..WORD_BITS).filter(move |bit| word & (1 << bit) != 0).map(move |bit| Shard(first + bit))
        };
        self.words.iter().enumerate().flat_map(bits)
    }

    pub fn is_subset_of(&self, other: &Self) -> bool {
        let of_other = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter().zip(of_other).all(|(word, of_other)| word & !of_other == 0)
    }

    pub fn intersects(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(word, of_other)| word & of_other != 0)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, of_other)| *word |= of_other);
    }

    fn shrink(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }
}

impl FromIterator<Shard> for ShardSet {
    fn from_iter<I: IntoIterator<Item = Shard>>(shards: I) -> Self {
        let mut set = Self::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

impl Serialize for ShardSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut words = self.words.iter().rev();
        let mut text = words.next().map_or_else(String::new, |highest| format!("{highest:x}"));
        words.for_each(|word| text.push_str(&format!("{word:016x}")));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for ShardSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let malformed = || de::Error::custom(format!("`{text}` is not a set of shards"));
        let digits = text.as_bytes();
        let words = digits.rchunks(16).map(|word| {
            let word = std::str::from_utf8(word).map_err(|_| malformed())?;
            u64::from_str_radix(word, 16).map_err(|_| malformed())
        });
        let mut set = Self { words: words.collect::<Result<_, _>>()? };
        set.shrink();
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(shards: &BTreeSet<u32>) -> ShardSet {
        shards.iter().copied().map(Shard).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_it_stands_for(
            a in proptest::collection::btree_set(0_u32..300, 0..40),
            b in proptest::collection::btree_set(0_u32..300, 0..40),
        ) {
            let (of_a, of_b) = (set(&a), set(&b));
            prop_assert_eq!(of_a.iter().map(|shard| shard.0).collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(of_a.len(), a.len());
            prop_assert_eq!(of_a.is_empty(), a.is_empty());
            prop_assert_eq!(of_a.is_subset_of(&of_b), a.is_subset(&b));
            prop_assert_eq!(of_a.intersects(&of_b), !a.is_disjoint(&b));
            prop_assert!((0..400).all(|shard| of_a.contains(Shard(shard)) == a.contains(&shard)));

            let mut both = of_a.clone();
            both.extend(&of_b);
            prop_assert_eq!(&both, &set(&a.union(&b).copied().collect()));
            for shard in &b {
                both.remove(Shard(*shard));
            }
            prop_assert_eq!(&both, &set(&a.difference(&b).copied().collect()));

            let text = serde_json::to_string(&of_a).unwrap();
            prop_assert_eq!(serde_json::from_str::<ShardSet>(&text).unwrap(), of_a);
        }
    }

    #[test]
    fn records_are_hexadecimal() {
        let text = |shards: &[u32]| serde_json::to_string(&set(&shards.iter().copied().collect())).unwrap();
        assert_eq!(text(&[]), r#""""#);
        assert_eq!(text(&[0, 5]), r#""21""#);
        assert_eq!(text(&[1, 64]), r#""10000000000000002""#);
        assert!(serde_json::from_str::<ShardSet>(r#""x""#).is_err());
    }
}
