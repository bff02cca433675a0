//! How often one address is given a token of the search UI.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// Addresses that are remembered, a few megabytes. Beyond it the one that asked longest ago is forgotten: whoever has so many
/// addresses is held back by none of this.
const ADDRESSES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("it is not zero");

const MINUTE: Duration = Duration::from_secs(60);

/// For each address the time until which its tokens of the last minute are used up, as if they were dealt out evenly (the
/// generic cell rate algorithm): one number, whatever the limit.
pub struct SessionLimits {
    used_until: Mutex<LruCache<IpAddr, Instant>>,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { used_until: Mutex::new(LruCache::new(ADDRESSES_MAX)) }
    }
}

impl SessionLimits {
    /// Takes one of the `per_minute` tokens of an address, or says how long it has to wait for one.
    pub fn take(&self, address: IpAddr, per_minute: u32, now: Instant) -> Result<(), Duration> {
        let each = MINUTE / per_minute.max(1);
        let mut used_until = self.used_until.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used_until.get_or_insert_mut(who(address), || now);
        let after = (*used).max(now) + each;
        match after.checked_duration_since(now + MINUTE) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *used = after;
                Ok(())
            }
        }
    }
}

/// Whom an address stands for: of IPv6, everyone has a network of addresses.
pub fn who(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_given_so_many_a_minute_and_no_more() {
        let (limits, start) = (SessionLimits::default(), Instant::now());
        let take = |text: &str, second: u64| limits.take(address(text), 6, start + Duration::from_secs(second));
        assert!((0..6).all(|_| take("10.0.0.1", 0).is_ok()));
        assert_eq!(take("10.0.0.1", 0), Err(Duration::from_secs(10)));
        assert_eq!(take("10.0.0.1", 4), Err(Duration::from_secs(6)));
        assert_eq!(take("10.0.0.1", 10), Ok(()), "the minute goes by for one after the other");
        assert_eq!(take("10.0.0.1", 10), Err(Duration::from_secs(10)));
        assert_eq!(take("10.0.0.2", 10), Ok(()), "each address by itself");
        assert!((0..6).all(|_| take("10.0.0.1", 200).is_ok()));
        assert!(take("10.0.0.1", 200).is_err());
    }

    #[test]
    fn an_ipv6_network_is_one_visitor() {
        let (limits, now) = (SessionLimits::default(), Instant::now());
        let take = |text: &str| limits.take(address(text), 1, now);
        assert!(take("2001:db8::1").is_ok());
        assert!(take("2001:db8::ffff:1").is_err());
        assert!(take("2001:db8:0:1::1").is_ok());
        assert!(take("10.0.0.1").is_ok());
        assert!(take("::ffff:10.0.0.1").is_err());
    }

    #[test]
    fn the_table_has_an_end() {
        let (limits, now) = (SessionLimits::default(), Instant::now());
        for n in 0..ADDRESSES_MAX.get() as u32 + 10 {
            limits.take(IpAddr::V4(n.into()), 1, now).unwrap();
        }
        assert_eq!(limits.used_until.lock().unwrap().len(), ADDRESSES_MAX.get());
    }
}
