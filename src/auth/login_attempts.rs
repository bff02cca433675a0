//! How often one address may try to log in.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::session_limits::who;

/// Tries of one address within [`WINDOW`] that are looked at.
const TRIES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// How long an address then waits for its next try; each further one that fails doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// Where doubling ends: whoever guesses has two dozen tries a day, and whoever mistypes is back within the hour.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Addresses that are remembered, about a megabyte. Beyond it the one that tried longest ago is forgotten.
const ADDRESSES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("it is not zero");

/// The tries of one address that have not succeeded.
#[derive(Clone, Copy, Debug)]
struct Tries {
    since: Instant,
    count: u32,
    /// No try is looked at before; `wait` is how long that was.
    closed_until: Instant,
    wait: Duration,
}

impl Tries {
    fn none(now: Instant) -> Self {
        Self { since: now, count: 0, closed_until: now, wait: Duration::ZERO }
    }

    /// Whether they are so long ago that they count no more: as long again as the last wait was, once that was over.
    fn are_forgotten(&self, now: Instant) -> bool {
        now >= (self.since + WINDOW).max(self.closed_until + self.wait)
    }
}

pub struct LoginAttempts {
    tries: Mutex<LruCache<IpAddr, Tries>>,
}

impl Default for LoginAttempts {
    fn default() -> Self {
        Self { tries: Mutex::new(LruCache::new(ADDRESSES_MAX)) }
    }
}

impl LoginAttempts {
    /// Counts a try before it is looked at, so that many at the same time are not more than so many one after the other. An error
    /// says how long to wait.
    pub fn begin(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut table = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = table.get_or_insert_mut(who(address), || Tries::none(now));
        if now < tries.closed_until {
            return Err(tries.closed_until - now);
        }
        if tries.are_forgotten(now) {
            *tries = Tries::none(now);
        }
        tries.count += 1;
        if tries.count >= TRIES_MAX {
            tries.wait = (tries.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
            tries.closed_until = now + tries.wait;
        }
        Ok(())
    }

    /// The try was right: those before it are forgiven.
    pub fn succeed(&self, address: IpAddr) {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).pop(&who(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const SOMEBODY_ELSE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    struct Clock {
        attempts: LoginAttempts,
        start: Instant,
    }

    impl Clock {
        fn try_at(&self, second: u64) -> Result<(), u64> {
            self.attempts.begin(SOMEBODY, self.start + Duration::from_secs(second)).map_err(|wait| wait.as_secs())
        }
    }

    fn clock() -> Clock {
        Clock { attempts: LoginAttempts::default(), start: Instant::now() }
    }

    #[test]
    fn ten_tries_a_minute_then_waits_that_double() {
        let clock = clock();
        assert!((0..10).all(|second| clock.try_at(second).is_ok()));
        assert_eq!(clock.try_at(10), Err(59));
        assert_eq!(clock.try_at(68), Err(1));
        assert_eq!(clock.attempts.begin(SOMEBODY_ELSE, clock.start), Ok(()));
        let mut second = 69;
        for wait in [120, 240, 480, 960, 1_920, 3_600, 3_600] {
            assert_eq!(clock.try_at(second), Ok(()), "one try");
            assert_eq!(clock.try_at(second), Err(wait));
            second += wait;
        }
    }

    #[test]
    fn nine_tries_a_minute_are_never_too_many() {
        let clock = clock();
        for minute in 0..100 {
            assert!((0..9).all(|second| clock.try_at(60 * minute + second).is_ok()), "{minute}");
        }
    }

    #[test]
    fn who_waits_as_long_again_begins_anew() {
        let clock = clock();
        assert!((0..10).all(|_| clock.try_at(0).is_ok()));
        assert_eq!(clock.try_at(119), Ok(()), "the wait is over, but not forgotten");
        assert_eq!(clock.try_at(119), Err(120));
        assert!((0..10).all(|_| clock.try_at(119 + 240).is_ok()));
        assert_eq!(clock.try_at(119 + 240), Err(60));
    }

    #[test]
    fn a_right_key_forgives_the_wrong_ones_before() {
        let clock = clock();
        for _ in 0..5 {
            assert!((0..9).all(|_| clock.try_at(0).is_ok()));
            clock.try_at(0).unwrap();
            clock.attempts.succeed(SOMEBODY);
        }
    }
}
