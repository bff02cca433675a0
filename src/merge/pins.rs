//! Hits that search rules pin to positions of the list, put among the others as one server does.
//!
//! It takes pins in the order of their rules ([`PinOrder`]), each when the list has reached its position and the pin before it has
//! been taken, or when there are no other hits left; so it makes the list up to the page's end. Those of the pins that came
//! into it are then put in anew by their positions alone. A leg does the same with the pins of its own shards, which come no later
//! in its list than in the whole; so legs show all pins that matter, if they are asked for so many hits more.
//!
//! A pinned document is among the other hits of no leg. It is shown whatever its distinct value, and keeps no other from being
//! shown.

use std::cmp::Reverse;
use std::ops::Range;

use super::hidden::key_text;
use crate::cluster::PinOrder;

/// How the details of a pinned hit begin: a pin is a hit's only rule.
pub(super) const PIN: &[u8] = b"{\"pin\":";

/// In which order the pins of an index are taken, and by which attribute their documents are known.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'r> {
    pub order: &'r PinOrder,
    pub key: &'r str,
}

/// A pinned hit of some leg.
#[derive(Clone, Debug)]
pub(super) struct Pinned<T> {
    pub(super) position: u64,
    pub(super) hit: T,
}

/// Puts pinned hits in the order in which they are taken. `key_of` gives the primary key of a hit as its node wrote it. Those
/// that no rule is known for come last, by position.
pub(super) fn in_order_taken<'k, T>(
    mut pinned: Vec<Pinned<T>>,
    pins: Option<Pins>,
    key_of: impl Fn(&T, &str) -> Option<&'k [u8]>,
) -> Vec<Pinned<T>> {
    let place = |pin: &Pinned<T>| {
        let pins = pins?;
        pins.order.place(&key_text(key_of(&pin.hit, pins.key)?), pin.position)
    };
    pinned.sort_by_cached_key(|pin| (Reverse(place(pin).map(Reverse)), pin.position));
    pinned
}

/// The list from its first hit up to `end`: the pins that are in it, by position, and the other hits that are. `pinned` are in the
/// order in which they are taken.
pub(super) fn taken<T, O>(mut pinned: Vec<Pinned<T>>, others: &mut Vec<O>, end: usize) -> Vec<Pinned<T>> {
    let (mut pins, mut rest) = (0, 0);
    for position in 0..end {
        match pinned.get(pins) {
            Some(pin) if pin.position <= position as u64 || rest == others.len() => pins += 1,
            _ if rest < others.len() => rest += 1,
            _ => break,
        }
    }
    pinned.truncate(pins);
    others.truncate(rest);
    pinned.sort_by_key(|pin| pin.position);
    pinned
}

/// These positions of the list in which pins, by position, stand among other hits.
pub(super) fn placed<T>(pinned: Vec<Pinned<T>>, others: Vec<T>, positions: Range<usize>) -> Vec<T> {
    let mut page = Vec::with_capacity(positions.len().min(pinned.len() + others.len()));
    let (mut pinned, mut others) = (pinned.into_iter().peekable(), others.into_iter().peekable());
    for position in 0..positions.end {
        let is_pinned = others.peek().is_none() || pinned.peek().is_some_and(|pin| pin.position <= position as u64);
        let next = match is_pinned {
            true => pinned.next().map(|pin| pin.hit),
            false => others.next(),
        };
        let Some(next) = next else { break };
        if position >= positions.start {
            page.push(next);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(positions: &[u64]) -> Vec<Pinned<String>> {
        positions.iter().enumerate().map(|(n, &position)| Pinned { position, hit: format!("p{n}") }).collect()
    }

    fn list(positions: &[u64], others: usize, page: Range<usize>) -> Vec<String> {
        let mut others: Vec<String> = (0..others).map(|n| n.to_string()).collect();
        let taken = taken(pins(positions), &mut others, page.end);
        placed(taken, others, page)
    }

    #[test]
    fn pins_stand_at_their_positions_and_behind_the_last_hit_when_there_are_too_few() {
        assert_eq!(list(&[1], 3, 0..10), ["0", "p0", "1", "2"]);
        assert_eq!(list(&[0, 0, 7], 2, 0..10), ["p0", "p1", "0", "1", "p2"]);
        assert_eq!(list(&[1], 3, 1..2), ["p0"]);
        assert_eq!(list(&[1], 3, 2..3), ["1"]);
        assert_eq!(list(&[9], 0, 0..3), ["p0"]);
        assert_eq!(list(&[0], 3, 0..0), Vec::<String>::new());
    }

    /// As measured on 1.50: with room for all, pins stand by their positions whatever their rules' order; with less, those that
    /// wait for one with a later position are not there at all.
    #[test]
    fn a_pin_waits_for_the_one_before_it() {
        assert_eq!(list(&[5, 0], 10, 0..12), ["p1", "0", "1", "2", "3", "p0", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(list(&[5, 0, 0], 10, 0..7), ["p1", "0", "1", "2", "3", "p0", "4"]);
        assert_eq!(list(&[5, 0], 10, 0..4), ["0", "1", "2", "3"]);
        assert_eq!(list(&[5, 0], 10, 0..6), ["0", "1", "2", "3", "4", "p0"]);
    }

    /// Whatever the rules, a page needs no hit of a leg that it does not show.
    #[test]
    fn legs_show_all_that_the_page_needs() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..2_000 {
            let positions: Vec<u64> = (0..random(6)).map(|_| random(9)).collect();
            let (others, end) = (random(12) as usize, random(9) as usize);
            let whole = list(&positions, others, 0..end);
            let leg_of: Vec<u64> = (0..positions.len() + others).map(|_| random(3)).collect();
            let mut of_legs: Vec<String> = Vec::new();
            for leg in 0..3 {
                let queue = pins(&positions).into_iter().enumerate().filter(|(n, _)| leg_of[*n] == leg);
                let queue: Vec<_> = queue.map(|(_, pin)| pin).collect();
                let mut own: Vec<String> =
                    (0..others).filter(|n| leg_of[positions.len() + n] == leg).map(|n| n.to_string()).collect();
                let asked = end + positions.len();
                let queue = taken(queue, &mut own, asked);
                of_legs.extend(placed(queue, own, 0..asked));
            }
            for hit in &whole {
                assert!(of_legs.contains(hit), "{hit} of {whole:?} in {of_legs:?}: {positions:?}, {others} others");
            }
        }
    }
}
