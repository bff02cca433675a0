//! Which writes wait for which: two that touch the same document are carried out one after the other, in the order in which they
//! came, and so reach every replica in the same order. Others go side by side.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{join_all, FutureExt, Shared};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::IndexUid;
use crate::error::{ApiError, Code};

/// What a write touches of its index.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Documents, by [`Shard::hash_of_key`](crate::cluster::Shard::hash_of_key). A collision makes a write wait in vain, no more.
    Keys(&'a [u64]),
    /// Everything: settings, edition, creation.
    Whole,
    /// Everything, of which some documents are deleted and nothing is written.
    Deletion,
}

/// Documents that one watch notes at most, 8 bytes each and as much again for the table: about a minute of the fastest writing.
/// Beyond that it only knows that there were more.
const WATCHED_KEYS_MAX: usize = 1 << 20;

/// Writes under way, by index. An index need not exist.
#[derive(Clone, Default)]
pub struct WriteOrder {
    books: Arc<Mutex<HashMap<IndexUid, Book>>>,
}

type Ended = Shared<oneshot::Receiver<()>>;

#[derive(Default)]
struct Book {
    next_ticket: u64,
    under_way: HashMap<u64, Ended>,
    /// The last write of each document among those that came after `last_whole`.
    last_of_key: HashMap<u64, u64>,
    last_whole: Option<u64>,
    watched: Option<Watched>,
}

impl Book {
    fn is_done_with(&self) -> bool {
        self.under_way.is_empty() && self.watched.is_none()
    }
}

/// What has been written since a watch began. Deletions write nothing.
#[derive(Default)]
struct Watched {
    keys: HashSet<u64>,
    /// Any document may have been written.
    is_all: bool,
}

impl Watched {
    fn note(&mut self, scope: Scope<'_>) {
        match scope {
            Scope::Keys(keys) if !self.is_all => {
                self.keys.extend(keys);
                self.is_all = self.keys.len() > WATCHED_KEYS_MAX;
            }
            Scope::Keys(_) | Scope::Deletion => {}
            Scope::Whole => self.is_all = true,
        }
        if self.is_all {
            self.keys = HashSet::new();
        }
    }
}

/// Notes which documents of an index are written to, as long as it is there. It holds nobody up.
pub struct Watch {
    order: WriteOrder,
    index_uid: IndexUid,
}

/// A write's turn. Those that wait for it go on when it is dropped.
pub struct Turn {
    books: Arc<Mutex<HashMap<IndexUid, Book>>>,
    index_uid: IndexUid,
    ticket: u64,
    keys: Vec<u64>,
    /// Dropped with the turn, which is what the others wait for.
    _ends: oneshot::Sender<()>,
}

impl WriteOrder {
    /// Waits until every earlier write that this one conflicts with has ended. `miroir_too_busy` at `deadline`.
    pub async fn turn(&self, index_uid: &IndexUid, scope: Scope<'_>, deadline: Instant) -> Result<Turn, ApiError> {
        let (turn, earlier) = self.enter(index_uid, scope);
        match tokio::time::timeout_at(deadline, join_all(earlier)).await {
            Ok(_) => Ok(turn),
            Err(_) => Err(ApiError::new(
                Code::MiroirTooBusy,
                format!("Earlier writes to the same documents of index `{index_uid}` have not ended in time; come back later."),
            )),
        }
    }

    /// Takes a place behind all earlier writes, and returns those that must end first.
    fn enter(&self, index_uid: &IndexUid, scope: Scope<'_>) -> (Turn, Vec<Ended>) {
        let mut books = books(&self.books);
        let book = books.entry(index_uid.clone()).or_default();
        if let Some(watched) = &mut book.watched {
            watched.note(scope);
        }
        self.take_place(book, index_uid, scope)
    }

    fn take_place(&self, book: &mut Book, index_uid: &IndexUid, scope: Scope<'_>) -> (Turn, Vec<Ended>) {
        let (ends, ended) = oneshot::channel();
        let ticket = book.next_ticket;
        book.next_ticket += 1;
        let mut earlier: HashSet<u64> = book.last_whole.into_iter().collect();
        let keys = match scope {
            Scope::Whole | Scope::Deletion => {
                earlier.extend(book.under_way.keys());
                book.last_whole = Some(ticket);
                book.last_of_key.clear();
                Vec::new()
            }
            Scope::Keys(keys) => {
                earlier.extend(keys.iter().filter_map(|key| book.last_of_key.insert(*key, ticket)));
                // A document may be in a batch twice.
                earlier.remove(&ticket);
                keys.to_vec()
            }
        };
        let earlier = earlier.iter().filter_map(|ticket| book.under_way.get(ticket).cloned()).collect();
        book.under_way.insert(ticket, ended.shared());
        let turn = Turn { books: Arc::clone(&self.books), index_uid: index_uid.clone(), ticket, keys, _ends: ends };
        (turn, earlier)
    }
}

impl WriteOrder {
    /// Watches an index from now on, and returns once all writes that came before have ended. `None` if somebody watches it
    /// already; `miroir_too_busy` at `deadline`.
    pub async fn watch(&self, index_uid: &IndexUid, deadline: Instant) -> Result<Option<Watch>, ApiError> {
        let earlier: Vec<Ended> = {
            let mut books = books(&self.books);
            let book = books.entry(index_uid.clone()).or_default();
            if book.watched.is_some() {
                return Ok(None);
            }
            book.watched = Some(Watched::default());
            book.under_way.values().cloned().collect()
        };
        let watch = Watch { order: self.clone(), index_uid: index_uid.clone() };
        match tokio::time::timeout_at(deadline, join_all(earlier)).await {
            Ok(_) => Ok(Some(watch)),
            Err(_) => Err(earlier_not_ended(index_uid)),
        }
    }
}

impl Watch {
    /// A turn for those of the documents that have not been written to since the watch began, with their places in `keys`; `None`
    /// if any may have been. Whoever writes to them from now on waits for the turn, which itself waits for deletions under way;
    /// `miroir_too_busy` at `deadline`.
    pub async fn turn_of_untouched(
        &self,
        keys: &[u64],
        deadline: Instant,
    ) -> Result<Option<(Turn, Vec<usize>)>, ApiError> {
        let Some((turn, places, earlier)) = self.enter_untouched(keys) else { return Ok(None) };
        match tokio::time::timeout_at(deadline, join_all(earlier)).await {
            Ok(_) => Ok(Some((turn, places))),
            Err(_) => Err(earlier_not_ended(&self.index_uid)),
        }
    }

    fn enter_untouched(&self, keys: &[u64]) -> Option<(Turn, Vec<usize>, Vec<Ended>)> {
        let mut books = books(&self.order.books);
        let book = books.get_mut(&self.index_uid)?;
        let watched = book.watched.as_ref().filter(|watched| !watched.is_all)?;
        let places: Vec<usize> = (0..keys.len()).filter(|&at| !watched.keys.contains(&keys[at])).collect();
        let untouched: Vec<u64> = places.iter().map(|&at| keys[at]).collect();
        let (turn, earlier) = self.order.take_place(book, &self.index_uid, Scope::Keys(&untouched));
        Some((turn, places, earlier))
    }
}

fn earlier_not_ended(index_uid: &IndexUid) -> ApiError {
    ApiError::new(Code::MiroirTooBusy, format!("Earlier writes to index `{index_uid}` have not ended in time."))
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut books = books(&self.order.books);
        let Some(book) = books.get_mut(&self.index_uid) else { return };
        book.watched = None;
        if book.is_done_with() {
            books.remove(&self.index_uid);
        }
    }
}

fn books(books: &Mutex<HashMap<IndexUid, Book>>) -> MutexGuard<'_, HashMap<IndexUid, Book>> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turn {
    /// Whether it is a turn for this index.
    pub fn is_of(&self, index_uid: &IndexUid) -> bool {
        self.index_uid == *index_uid
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut books = books(&self.books);
        let Some(book) = books.get_mut(&self.index_uid) else { return };
        book.under_way.remove(&self.ticket);
        for key in &self.keys {
            if book.last_of_key.get(key) == Some(&self.ticket) {
                book.last_of_key.remove(key);
            }
        }
        if book.last_whole == Some(self.ticket) {
            book.last_whole = None;
        }
        if book.is_done_with() {
            books.remove(&self.index_uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    async fn is_free(order: &WriteOrder, index: &str, scope: Scope<'_>) -> bool {
        order.turn(&uid(index), scope, Instant::now() + Duration::from_millis(1)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_writes_of_the_same_documents_wait_for_each_other() {
        let order = WriteOrder::default();
        let later = Instant::now() + Duration::from_secs(1);
        let turn = order.turn(&uid("movies"), Scope::Keys(&[1, 2, 2]), later).await.unwrap();
        assert!(is_free(&order, "movies", Scope::Keys(&[3])).await);
        assert!(is_free(&order, "books", Scope::Keys(&[1])).await);
        assert!(!is_free(&order, "movies", Scope::Keys(&[2, 4])).await);
        assert!(!is_free(&order, "movies", Scope::Whole).await);
        drop(turn);
        assert!(is_free(&order, "movies", Scope::Keys(&[2])).await);
        assert!(books(&order.books).is_empty(), "nothing is kept of indexes that nobody writes to");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_of_a_whole_index_waits_for_all_and_all_wait_for_it() {
        let order = WriteOrder::default();
        let later = Instant::now() + Duration::from_secs(1);
        let one = order.turn(&uid("movies"), Scope::Keys(&[1]), later).await.unwrap();
        let (whole, earlier) = order.enter(&uid("movies"), Scope::Whole);
        let (behind, waits_for) = order.enter(&uid("movies"), Scope::Keys(&[9]));
        assert_eq!((earlier.len(), waits_for.len()), (1, 1));
        drop(one);
        join_all(earlier).await;
        assert!(!is_free(&order, "movies", Scope::Keys(&[5])).await, "the whole index is taken");
        drop(whole);
        join_all(waits_for).await;
        assert!(is_free(&order, "movies", Scope::Keys(&[5])).await);
        drop(behind);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_gave_up_waiting_holds_nobody_up() {
        let order = WriteOrder::default();
        let later = Instant::now() + Duration::from_secs(1);
        let first = order.turn(&uid("movies"), Scope::Keys(&[1]), later).await.unwrap();
        let soon = Instant::now() + Duration::from_millis(5);
        let refused = order.turn(&uid("movies"), Scope::Keys(&[1]), soon).await.err().unwrap();
        assert!(refused.is(Code::MiroirTooBusy));
        drop(first);
        assert!(is_free(&order, "movies", Scope::Keys(&[1])).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_spares_what_was_written_since_it_began_and_holds_nobody_up() {
        let order = WriteOrder::default();
        let later = || Instant::now() + Duration::from_secs(1);
        let before = order.turn(&uid("movies"), Scope::Keys(&[1]), later()).await.unwrap();
        assert!(order.watch(&uid("movies"), later()).await.is_err(), "it waits for what came before");
        drop(before);
        let watch = order.watch(&uid("movies"), later()).await.unwrap().unwrap();
        assert!(order.watch(&uid("movies"), later()).await.unwrap().is_none(), "one watches an index at a time");
        drop(order.turn(&uid("movies"), Scope::Keys(&[2]), later()).await.unwrap());
        let under_way = order.turn(&uid("movies"), Scope::Keys(&[3]), later()).await.unwrap();
        drop(order.turn(&uid("books"), Scope::Whole, later()).await.unwrap());
        // What only deletes has moved no end, but it goes first.
        let deletion = order.enter(&uid("movies"), Scope::Deletion).0;
        let soon = Instant::now() + Duration::from_millis(1);
        assert!(watch.turn_of_untouched(&[1, 4], soon).await.is_err());
        drop(deletion);
        let (turn, places) = watch.turn_of_untouched(&[1, 2, 3, 4], later()).await.unwrap().unwrap();
        assert_eq!(places, [0, 3]);
        assert!(!is_free(&order, "movies", Scope::Keys(&[4])).await, "whoever comes now waits for the turn");
        assert!(is_free(&order, "movies", Scope::Keys(&[2])).await);
        drop((turn, under_way));
        assert!(is_free(&order, "movies", Scope::Whole).await);
        assert!(watch.turn_of_untouched(&[7], later()).await.unwrap().is_none(), "any document may have been written");
        drop(watch);
        assert!(books(&order.books).is_empty(), "nothing is kept of indexes that nobody watches or writes to");
    }

    #[test]
    fn a_watch_of_too_many_writes_spares_all_documents() {
        let mut watched = Watched::default();
        watched.note(Scope::Keys(&(0..=WATCHED_KEYS_MAX as u64).collect::<Vec<_>>()));
        assert!(watched.is_all && watched.keys.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Touches {
        Keys(Vec<u64>),
        Whole,
    }

    fn touches() -> impl Strategy<Value = Touches> {
        prop_oneof![
            9 => proptest::collection::vec(0_u64..6, 1..4).prop_map(Touches::Keys),
            1 => Just(Touches::Whole),
        ]
    }

    proptest! {
        /// Whatever ends first, two writes that conflict are never under way together, the earlier one goes first, and all end.
        #[test]
        fn conflicting_writes_go_in_the_order_in_which_they_came(
            writes in proptest::collection::vec(touches(), 1..30),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 30),
        ) {
            let order = WriteOrder::default();
            let conflict = |a: &Touches, b: &Touches| match (a, b) {
                (Touches::Keys(a), Touches::Keys(b)) => a.iter().any(|key| b.contains(key)),
                _ => true,
            };
            let mut waiting: Vec<(usize, Option<Turn>, Vec<Ended>)> = Vec::new();
            for (n, write) in writes.iter().enumerate() {
                let scope = match write {
                    Touches::Keys(keys) => Scope::Keys(keys),
                    Touches::Whole => Scope::Whole,
                };
                let (turn, earlier) = order.enter(&uid("i"), scope);
                waiting.push((n, Some(turn), earlier));
            }
            let mut ended = vec![false; writes.len()];
            for pick in picks.iter().take(writes.len()) {
                let ready: Vec<usize> = (0..waiting.len())
                    .filter(|&at| waiting[at].2.iter().all(|earlier| earlier.clone().now_or_never().is_some()))
                    .collect();
                prop_assert!(!ready.is_empty(), "the first of all never waits");
                for &at in &ready {
                    let n = waiting[at].0;
                    let overtakes = (0..n).any(|earlier| !ended[earlier] && conflict(&writes[earlier], &writes[n]));
                    prop_assert!(!overtakes, "write {n} overtakes one it conflicts with");
                }
                let (n, turn, _) = waiting.remove(ready[pick.index(ready.len())]);
                drop(turn);
                ended[n] = true;
            }
            prop_assert!(books(&order.books).is_empty());
        }
    }
}
