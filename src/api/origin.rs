//! Where a request comes from, for the few routes that find out themselves who may use them.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;
use ipnet::IpNet;

/// What a request says of whoever sent it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who holds the connection.
    pub peer: IpAddr,
    /// Who the request comes from: the peer, or whom it speaks for.
    pub client: IpAddr,
    /// Whether it was encrypted on its way from there.
    pub is_encrypted: bool,
    pub headers: HeaderMap,
}

impl Origin {
    /// `trusted` are those whose word counts of where a request comes from: their `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub fn new(peer: Option<IpAddr>, is_encrypted: bool, headers: HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        // A socket in the file system has no address.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        let mut origin = Self { peer, client: peer, is_encrypted, headers };
        if is_trusted(peer) {
            origin.is_encrypted |=
                origin.last("x-forwarded-proto").is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
            origin.client = farthest_trusted(peer, origin.values("x-forwarded-for"), is_trusted);
        }
        origin
    }

    /// The value of a header, if it stands there exactly once. Of two it would be anyone's guess which was meant.
    pub fn only(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value.as_bytes()),
            _ => None,
        }
    }

    /// The parts of a list in a header, in their order, over all its lines.
    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        let lines = self.headers.get_all(name).iter();
        let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or_default()).collect();
        lines.into_iter().flat_map(|line| line.split(',')).map(str::trim)
    }

    fn last(&self, name: &str) -> Option<&str> {
        self.values(name).next_back()
    }
}

/// From the peer on, each one names the one before it, as long as its word counts.
fn farthest_trusted<'h>(
    peer: IpAddr,
    named: impl DoubleEndedIterator<Item = &'h str>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut known = peer;
    for name in named.rev() {
        let Some(address) = address(name).filter(|_| is_trusted(known)) else { break };
        known = address;
    }
    known
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let of_socket = || text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    text.parse::<IpAddr>().ok().or_else(of_socket).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, headers: &[(&'static str, &str)]) -> Origin {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        Origin::new(Some(peer.parse().unwrap()), false, map, &trusted)
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let headers: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
        origin(peer, &headers).client.to_string()
    }

    #[test]
    fn the_word_of_strangers_does_not_count() {
        assert_eq!(client("1.1.1.1", &["2.2.2.2"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["2.2.2.2"]), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["3.3.3.3, 2.2.2.2"]), "2.2.2.2", "what a client says of itself comes first");
        assert_eq!(client("10.0.0.1", &["3.3.3.3", "2.2.2.2, 10.0.0.2"]), "2.2.2.2");
        assert_eq!(client("::ffff:10.0.0.1", &["fd00::1, 10.0.0.2:99"]), "fd00::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["2.2.2.2, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["2.2.2.2, [2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(Origin::new(None, false, HeaderMap::new(), &[]).client.to_string(), "0.0.0.0");
    }

    #[test]
    fn encryption_on_the_way_is_told_by_those_who_are_believed() {
        let proto = |peer: &str, value: &str| origin(peer, &[("x-forwarded-proto", value)]).is_encrypted;
        assert!(proto("10.0.0.1", "https") && proto("10.0.0.1", "http, HTTPS"));
        assert!(!proto("1.1.1.1", "https") && !proto("10.0.0.1", "https, http"));
        assert!(Origin::new(None, true, HeaderMap::new(), &[]).is_encrypted);
    }

    #[test]
    fn a_header_that_stands_twice_has_no_value() {
        let twice = origin("1.1.1.1", &[("x-a", "1"), ("x-a", "2"), ("x-b", "3")]);
        assert_eq!((twice.only("x-a"), twice.only("x-b"), twice.only("x-c")), (None, Some(&b"3"[..]), None));
    }
}
