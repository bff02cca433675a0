//! How far a read has come: which node each shard's answer is awaited from. Plain state; tests play the nodes.
//!
//! A portion is a set of shards that one leg was sent for. It is settled by the answer of that leg, or by those of a hedge: legs
//! to other nodes that together have the portion's shards. When a leg fails, its hedge carries on in its place; without one the
//! shards are to be asked for elsewhere, as new portions.

use crate::cluster::{CoveringLeg, NodeIndex, Shard};

/// Number of a leg within its read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LegNumber(usize);

impl LegNumber {
    pub fn index(self) -> usize {
        self.0
    }
}

/// What a leg is for.
#[derive(Clone, Copy)]
enum Role {
    /// The leg of a portion.
    First(usize),
    /// A piece of a portion's hedge.
    Hedge(usize, usize),
    /// Nothing any more.
    Void,
}

struct Portion<A> {
    node: NodeIndex,
    shards: Vec<Shard>,
    leg: LegNumber,
    hedge: Vec<Piece<A>>,
    /// Whether a hedge was sent, or decided against.
    is_hedging_decided: bool,
    state: State<A>,
}

enum State<A> {
    Open,
    Answered(A),
    /// By the pieces of its hedge.
    Hedged,
    /// Its shards are in other portions, or missing.
    Dissolved,
}

struct Piece<A> {
    leg: LegNumber,
    node: NodeIndex,
    shards: Vec<Shard>,
    answer: Option<A>,
}

/// What an answer did for its read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It settled a portion that had no hedge, or is a piece of one.
    Taken,
    /// It settled a portion before its hedge did.
    BeatHedge,
    /// It was the last piece of a hedge that settled a portion.
    BeatLeg,
    /// It came too late.
    None,
}

/// An open portion for which no second leg was thought of yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited<'a> {
    pub leg: LegNumber,
    pub node: NodeIndex,
    pub shards: &'a [Shard],
}

/// `A` is what a node answers.
pub(super) struct Progress<A> {
    portions: Vec<Portion<A>>,
    /// By number of the leg.
    roles: Vec<Role>,
    nodes: Vec<NodeIndex>,
    open: usize,
}

impl<A> Progress<A> {
    pub fn new() -> Self {
        Self { portions: Vec::new(), roles: Vec::new(), nodes: Vec::new(), open: 0 }
    }

    /// How many legs there have been.
    pub fn legs(&self) -> usize {
        self.roles.len()
    }

    /// The node of a leg.
    pub fn node(&self, leg: LegNumber) -> NodeIndex {
        self.nodes[leg.0]
    }

    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// Awaits an answer from each of these nodes for its shards. The legs are numbered in their order, from what is returned.
    pub fn begin(&mut self, legs: &[CoveringLeg]) -> impl Iterator<Item = LegNumber> + use<A> {
        let first = self.roles.len();
        for leg in legs {
            let number = self.number(Role::Void, leg.node);
            self.await_portion(leg.node, leg.shards.clone(), number);
        }
        (first..self.roles.len()).map(LegNumber)
    }

    fn number(&mut self, role: Role, node: NodeIndex) -> LegNumber {
        self.roles.push(role);
        self.nodes.push(node);
        LegNumber(self.roles.len() - 1)
    }

    fn await_portion(&mut self, node: NodeIndex, shards: Vec<Shard>, leg: LegNumber) {
        self.roles[leg.0] = Role::First(self.portions.len());
        let (hedge, state) = (Vec::new(), State::Open);
        self.portions.push(Portion { node, shards, leg, hedge, is_hedging_decided: false, state });
        self.open += 1;
    }

    /// Portions that are open, and for which hedging is undecided.
    pub fn awaited(&self) -> impl Iterator<Item = Awaited<'_>> {
        let undecided = |portion: &&Portion<A>| matches!(portion.state, State::Open) && !portion.is_hedging_decided;
        self.portions.iter().filter(undecided).map(|Portion { leg, node, shards, .. }| Awaited {
            leg: *leg,
            node: *node,
            shards,
        })
    }

    /// Decides whether the portion of `leg`, one of those awaited, is also asked for elsewhere: by `pieces`, which have its
    /// shards; by nobody if there are none.
    pub fn hedge(&mut self, leg: LegNumber, pieces: &[CoveringLeg]) -> impl Iterator<Item = LegNumber> + use<A> {
        let first = self.roles.len();
        if let Role::First(at) = self.roles[leg.0] {
            self.portions[at].is_hedging_decided = true;
            for (n, CoveringLeg { node, shards }) in pieces.iter().enumerate() {
                let leg = self.number(Role::Hedge(at, n), *node);
                self.portions[at].hedge.push(Piece { leg, node: *node, shards: shards.clone(), answer: None });
            }
        }
        (first..self.roles.len()).map(LegNumber)
    }

    /// A leg was answered.
    pub fn answered(&mut self, leg: LegNumber, answer: A) -> Use {
        match self.roles[leg.0] {
            Role::First(at) => {
                let used = if self.portions[at].hedge.is_empty() { Use::Taken } else { Use::BeatHedge };
                self.settle(at, State::Answered(answer));
                used
            }
            Role::Hedge(at, piece) => {
                self.portions[at].hedge[piece].answer = Some(answer);
                if self.portions[at].hedge.iter().any(|piece| piece.answer.is_none()) {
                    return Use::Taken;
                }
                self.settle(at, State::Hedged);
                Use::BeatLeg
            }
            Role::Void => Use::None,
        }
    }

    /// A leg has failed. Returns the shards that must be asked for elsewhere.
    pub fn failed(&mut self, leg: LegNumber) -> Vec<Shard> {
        match self.roles[leg.0] {
            Role::First(at) => {
                let hedge = std::mem::take(&mut self.portions[at].hedge);
                let shards = if hedge.is_empty() { std::mem::take(&mut self.portions[at].shards) } else { Vec::new() };
                self.settle(at, State::Dissolved);
                hedge.into_iter().for_each(|piece| self.promote(piece));
                shards
            }
            // The portion's own leg is under way still.
            Role::Hedge(at, _) => {
                let hedge = std::mem::take(&mut self.portions[at].hedge);
                hedge.iter().for_each(|piece| self.roles[piece.leg.0] = Role::Void);
                Vec::new()
            }
            Role::Void => Vec::new(),
        }
    }

    /// Whether anything still depends on a leg.
    pub fn matters(&self, leg: LegNumber) -> bool {
        !matches!(self.roles[leg.0], Role::Void)
    }

    /// A piece of a hedge becomes a portion in its own right.
    fn promote(&mut self, piece: Piece<A>) {
        self.await_portion(piece.node, piece.shards, piece.leg);
        if let Some(answer) = piece.answer {
            self.settle(self.portions.len() - 1, State::Answered(answer));
        }
    }

    fn settle(&mut self, at: usize, state: State<A>) {
        let portion = &mut self.portions[at];
        debug_assert!(matches!(portion.state, State::Open), "a portion is settled once");
        portion.state = state;
        self.open -= 1;
        self.roles[portion.leg.0] = Role::Void;
        portion.hedge.iter().for_each(|piece| self.roles[piece.leg.0] = Role::Void);
    }

    /// What was answered, each shard once.
    pub fn into_answers(self) -> Vec<(NodeIndex, Vec<Shard>, A)> {
        let mut answers = Vec::with_capacity(self.portions.len());
        for portion in self.portions {
            match portion.state {
                State::Answered(answer) => answers.push((portion.node, portion.shards, answer)),
                State::Hedged => answers.extend(
                    portion.hedge.into_iter().filter_map(|piece| Some((piece.node, piece.shards, piece.answer?))),
                ),
                State::Open | State::Dissolved => {}
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leg(node: u16, shards: &[u32]) -> CoveringLeg {
        CoveringLeg { node: NodeIndex(node), shards: shards.iter().copied().map(Shard).collect() }
    }

    fn answers(progress: Progress<&'static str>) -> Vec<(u16, Vec<u32>, &'static str)> {
        let plain = |(node, shards, answer): (NodeIndex, Vec<Shard>, _)| {
            (node.0, shards.into_iter().map(|shard| shard.0).collect(), answer)
        };
        progress.into_answers().into_iter().map(plain).collect()
    }

    #[test]
    fn a_late_leg_is_answered_by_its_hedge_and_its_own_answer_comes_too_late() {
        let mut progress = Progress::new();
        let legs: Vec<_> = progress.begin(&[leg(0, &[0, 1]), leg(1, &[2])]).collect();
        let pieces: Vec<_> = progress.hedge(legs[0], &[leg(1, &[0]), leg(2, &[1])]).collect();
        assert_eq!(progress.awaited().map(|awaited| awaited.node.0).collect::<Vec<_>>(), [1], "decided for node 0");
        assert_eq!(progress.answered(legs[1], "b"), Use::Taken);
        assert_eq!(progress.answered(pieces[0], "h0"), Use::Taken);
        assert!(!progress.is_complete());
        assert_eq!(progress.answered(pieces[1], "h1"), Use::BeatLeg);
        assert!(progress.is_complete() && !progress.matters(legs[0]));
        assert_eq!(progress.answered(legs[0], "a"), Use::None);
        assert_eq!(answers(progress), [(1, vec![0], "h0"), (2, vec![1], "h1"), (1, vec![2], "b")]);
    }

    #[test]
    fn a_failed_leg_leaves_its_shards_to_its_hedge_whose_pieces_then_stand_for_themselves() {
        let mut progress = Progress::new();
        let legs: Vec<_> = progress.begin(&[leg(0, &[0, 1])]).collect();
        let pieces: Vec<_> = progress.hedge(legs[0], &[leg(1, &[0]), leg(2, &[1])]).collect();
        progress.answered(pieces[0], "h0");
        assert_eq!(progress.failed(legs[0]), []);
        assert!(!progress.is_complete());
        assert_eq!(progress.failed(pieces[1]), [Shard(1)], "nobody else is asked for it");
        let again: Vec<_> = progress.begin(&[leg(3, &[1])]).collect();
        progress.answered(again[0], "r");
        assert_eq!(answers(progress), [(1, vec![0], "h0"), (3, vec![1], "r")]);
    }

    #[test]
    fn a_failed_hedge_leaves_the_portion_to_its_leg() {
        let mut progress = Progress::new();
        let legs: Vec<_> = progress.begin(&[leg(0, &[0, 1])]).collect();
        let pieces: Vec<_> = progress.hedge(legs[0], &[leg(1, &[0]), leg(2, &[1])]).collect();
        assert_eq!(progress.failed(pieces[0]), []);
        assert_eq!(progress.answered(pieces[1], "h1"), Use::None);
        assert_eq!(progress.answered(legs[0], "a"), Use::Taken);
        assert_eq!(answers(progress), [(0, vec![0, 1], "a")]);
    }

    proptest! {
        /// Nodes answer, fail and are hedged in any order; what fails is asked for elsewhere or given up.
        #[test]
        fn every_shard_is_answered_once_or_given_up(
            steps in proptest::collection::vec((any::<proptest::sample::Index>(), 0_u8..10), 0..200),
        ) {
            const SHARDS: u32 = 12;
            let mut progress = Progress::new();
            let mut legs: Vec<LegNumber> =
                progress.begin(&[leg(0, &[0, 1, 2, 3, 4, 5]), leg(1, &[6, 7, 8]), leg(2, &[9, 10, 11])]).collect();
            let mut missing = Vec::new();
            let halves = |shards: &[Shard]| {
                let (a, b) = shards.split_at(shards.len() / 2);
                let of = |node, shards: &[Shard]| CoveringLeg { node: NodeIndex(node), shards: shards.to_vec() };
                [of(3, a), of(4, b)].into_iter().filter(|leg| !leg.shards.is_empty()).collect::<Vec<_>>()
            };
            for (which, what) in steps {
                if legs.is_empty() {
                    break;
                }
                let at = which.index(legs.len());
                match what {
                    0..=3 => { progress.answered(legs.swap_remove(at), ()); }
                    4..=6 => {
                        let shards = progress.failed(legs.swap_remove(at));
                        if what == 6 {
                            missing.extend(shards);
                        } else if !shards.is_empty() {
                            legs.extend(progress.begin(&halves(&shards)));
                        }
                    }
                    _ => {
                        let awaited = progress.awaited().next().map(|awaited| (awaited.leg, halves(awaited.shards)));
                        if let Some((leg, pieces)) = awaited {
                            legs.extend(progress.hedge(leg, &pieces));
                        }
                    }
                }
            }
            for leg in legs {
                progress.answered(leg, ());
            }
            prop_assert!(progress.is_complete());
            let mut seen: Vec<u32> =
                progress.into_answers().into_iter().flat_map(|(_, shards, ())| shards).chain(missing).map(|s| s.0).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..SHARDS).collect::<Vec<_>>());
        }
    }
}
