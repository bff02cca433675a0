//! One call over HTTP, as Meilisearch makes it: tasks as NDJSON, gzip, with the webhook's own headers.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use flate2::write::GzEncoder;
use flate2::Compression;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::Call;
use crate::conf::WebhooksConfig;
use crate::tasks::Task;

/// Longest time for one call, from the look-up of its name to the header of the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a webhook was not told. Neither addresses nor headers stand in it: both may hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its address is one of a private network, which webhooks.allow_private_networks does not allow")]
    PrivateAddress,
    #[error("{0}")]
    NoAnswer(String),
}

/// Makes calls.
pub struct Caller {
    agent: ureq::Agent,
}

impl Caller {
    pub fn new(config: &WebhooksConfig) -> Self {
        let allow_private_networks = config.allow_private_networks;
        let authorities = config.authorities.iter().map(|der| Certificate::from_der(der).to_owned());
        let roots = if config.authorities.is_empty() { RootCerts::WebPki } else { RootCerts::from(authorities) };
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .http_status_as_error(false)
            // A redirected POST becomes a GET without a body, and headers would go where nobody sent them.
            .max_redirects(0)
            .proxy(None)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("Miroir/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = PolicyResolver { inner: DefaultResolver::default(), allow_private_networks };
        Self { agent: ureq::Agent::with_parts(config, DefaultConnector::new(), resolver) }
    }

    /// Makes one call and waits for its answer. Blocks.
    pub fn make(&self, call: &Call) -> Result<(), CallError> {
        let no_answer = |error: &dyn std::fmt::Display| CallError::NoAnswer(error.to_string());
        let body = body_of(&call.tasks).map_err(|error| no_answer(&error))?;
        // Names that are not ASCII are put into the form that resolvers know.
        let url = url::Url::parse(&call.webhook.url).map_err(|error| no_answer(&error))?;
        let mut request = self
            .agent
            .post(url.as_str())
            .header("Content-Encoding", "gzip")
            .header("Content-Type", "application/x-ndjson");
        for (name, value) in &call.webhook.headers {
            request = request.header(name, value);
        }
        match request.send(&body[..]) {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(CallError::Status(answer.status().as_u16())),
            Err(error) => Err(explained(error)),
        }
    }
}

/// In words of our own: an error of the client may quote the address.
fn explained(error: ureq::Error) -> CallError {
    match error {
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => CallError::PrivateAddress,
        ureq::Error::Io(error) if tls_error(&error).is_some() => {
            let why = tls_error(&error).map(ToString::to_string).unwrap_or_default();
            CallError::NoAnswer(format!("its connection is not secure: {why}"))
        }
        ureq::Error::Io(error) => CallError::NoAnswer(format!("its connection failed: {}", error.kind())),
        ureq::Error::Timeout(_) => CallError::NoAnswer("it did not answer in time".to_owned()),
        ureq::Error::HostNotFound => CallError::NoAnswer("its name is not known".to_owned()),
        ureq::Error::ConnectionFailed => CallError::NoAnswer("it cannot be connected to".to_owned()),
        ureq::Error::Tls(why) => CallError::NoAnswer(format!("its connection is not secure: {why}")),
        ureq::Error::Rustls(error) => CallError::NoAnswer(format!("its connection is not secure: {error}")),
        ureq::Error::BadUri(_) => CallError::NoAnswer("its address cannot be called".to_owned()),
        _ => CallError::NoAnswer("the call failed".to_owned()),
    }
}

/// What is wrong with the other side's certificate, or its cryptography.
fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn body_of(tasks: &[Arc<Task>]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for task in tasks {
        serde_json::to_writer(&mut encoder, &task.view())?;
        encoder.write_all(b"\n")?;
    }
    encoder.finish()
}

/// Finds addresses, and keeps those of private networks from being called: whoever may make a webhook is not meant to reach what
/// stands beside Miroir.
#[derive(Debug)]
struct PolicyResolver {
    inner: DefaultResolver,
    allow_private_networks: bool,
}

impl Resolver for PolicyResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        if self.allow_private_networks {
            return Ok(found);
        }
        let mut public = self.empty();
        for address in found.iter().filter(|address| is_public(address.ip())) {
            public.push(*address);
        }
        if public.is_empty() {
            return Err(ureq::Error::Io(std::io::ErrorKind::PermissionDenied.into()));
        }
        Ok(public)
    }
}

/// Whether an address is one of the internet and not of a machine, a link or a private network.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let is_of_carrier = first == 100 && (64..128).contains(&second);
    let is_of_protocol = first == 192 && second == 0 && ip.octets()[2] == 0;
    let is_of_benchmark = first == 198 && (18..20).contains(&second);
    !(first == 0
        || first >= 240
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || is_of_carrier
        || is_of_protocol
        || is_of_benchmark)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    // Global unicast, without the range for documentation; an address of IPv4 in another disguise is judged as one.
    if first == 0x0064 && ip.segments()[1] == 0xff9b {
        let [.., high, low] = ip.segments();
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    (first & 0xe000) == 0x2000 && !(first == 0x2001 && ip.segments()[1] == 0x0db8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_private_networks_are_told_from_public_ones() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::1.1.1.1", "::ffff:8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        let private = [
            "127.0.0.1",
            "10.0.0.5",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2001:db8::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }
}
