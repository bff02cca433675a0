//! A request's body as handlers read it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::proxy::Session;
use tokio::time::Instant;

use super::decode::{Coding, Corrupt, Decoder};
use crate::api::Body;
use crate::documents::{MemoryBudget, MemoryShare};
use crate::error::{ApiError, Code};

/// Slowest rate at which a body may arrive in the long run. A slow telephone is faster; who sends less only occupies the
/// memory that is set aside for the announced length.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// What is set aside for a body beyond its length, as a part of it: room for the shards' fields, and for buffers that are
/// not full.
const RESERVED_EXTRA: u64 = 4;

/// Reads from the client, chunk by chunk, up to a size, and decompresses what is compressed.
pub struct ClientBody<'s> {
    session: &'s mut Session,
    /// Largest body, as it is sent and as it is decompressed.
    size_max: u64,
    budget: &'s Arc<MemoryBudget>,
    /// Longest wait for one chunk.
    chunk_timeout: Duration,
    is_begun: bool,
    /// Time spent on waiting for chunks.
    waited: Duration,
    /// Bytes as they were sent.
    received: u64,
    coding: Option<Coding>,
    decoding: Option<Decoding>,
}

/// A compressed body on its way through.
struct Decoding {
    decoder: Decoder,
    /// Received and not decoded yet.
    encoded: Bytes,
    /// Bytes as they were before they were compressed.
    decoded: u64,
    /// Covers the decoder's own memory.
    _share: MemoryShare,
}

impl<'s> ClientBody<'s> {
    /// `content_encoding` is the value of the request's header.
    pub fn new(
        session: &'s mut Session,
        content_encoding: Option<&str>,
        size_max: u64,
        budget: &'s Arc<MemoryBudget>,
        chunk_timeout: Duration,
    ) -> Self {
        Self {
            session,
            size_max,
            budget,
            chunk_timeout,
            is_begun: false,
            waited: Duration::ZERO,
            received: 0,
            coding: content_encoding.and_then(Coding::of_header),
            decoding: None,
        }
    }

    fn too_large(&self) -> ApiError {
        let message = format!(
            "The provided payload reached the size limit. The maximum accepted payload size is {}.",
            size(self.size_max)
        );
        ApiError::new(Code::PayloadTooLarge, message)
    }

    /// Length of the body as the client announces it.
    fn announced(&self) -> Result<Option<u64>, ApiError> {
        let announced = self.session.get_header(http::header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        match announced {
            Some(length) if length > self.size_max => Err(self.too_large()),
            announced => Ok(announced),
        }
    }

    /// Clients that announce a large body wait to be told that it is welcome.
    async fn begin(&mut self) -> Result<(), ApiError> {
        self.is_begun = true;
        self.announced()?;
        if let (Some(coding), None) = (self.coding, &self.decoding) {
            let mut share = self.budget.share();
            share.reserve(coding.memory_bytes()).await?;
            self.decode(coding, share)?;
        }
        let expects = self
            .session
            .get_header(http::header::EXPECT)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if expects {
            self.session.write_continue_response().await.map_err(broken)?;
        }
        Ok(())
    }

    fn decode(&mut self, coding: Coding, share: MemoryShare) -> Result<(), ApiError> {
        let decoder = Decoder::new(coding).map_err(|error| {
            ApiError::new(Code::Internal, format!("The request's body cannot be decompressed: {error}."))
        })?;
        self.decoding = Some(Decoding { decoder, encoded: Bytes::new(), decoded: 0, _share: share });
        Ok(())
    }

    /// The next bytes as the client sent them.
    async fn receive(&mut self) -> Result<Option<Bytes>, ApiError> {
        let in_time = self.chunk_timeout + Duration::from_secs(self.received / BYTES_PER_SECOND_MIN);
        let patience = self.chunk_timeout.min(in_time.saturating_sub(self.waited));
        let began = Instant::now();
        let chunk = tokio::time::timeout(patience, self.session.read_request_body()).await;
        self.waited += began.elapsed();
        match chunk {
            Ok(Ok(Some(chunk))) => {
                self.received += chunk.len() as u64;
                if self.received > self.size_max {
                    return Err(self.too_large());
                }
                Ok(Some(chunk))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(broken(error)),
            Err(_) => Err(ApiError::new(Code::RequestTimeout, "The request's body did not arrive in time.")),
        }
    }
}

#[async_trait]
impl Body for ClientBody<'_> {
    async fn reserve(&mut self) -> Result<MemoryShare, ApiError> {
        let announced = self.announced()?.unwrap_or(0);
        let coding = self.coding.filter(|_| self.decoding.is_none());
        let of_decoder = coding.map_or(0, Coding::memory_bytes);
        let mut share = self.budget.share();
        // Both at once: who holds one of them does not wait for the other.
        share.reserve(announced + announced / RESERVED_EXTRA + of_decoder).await?;
        if let Some(coding) = coding {
            let of_decoder = share.split_off(of_decoder);
            self.decode(coding, of_decoder)?;
        }
        Ok(share)
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        if !self.is_begun {
            self.begin().await?;
        }
        if self.decoding.is_none() {
            return self.receive().await;
        }
        loop {
            if let Some(decoding) = &mut self.decoding {
                let piece = decoding.decoder.decode(&mut decoding.encoded).map_err(corrupt)?;
                decoding.decoded += piece.len() as u64;
                if decoding.decoded > self.size_max {
                    return Err(self.too_large());
                }
                if !piece.is_empty() {
                    return Ok(Some(piece));
                }
            }
            let received = self.receive().await?;
            let Some(decoding) = &mut self.decoding else { return Ok(received) };
            match received {
                Some(chunk) => decoding.encoded = chunk,
                None => {
                    decoding.decoder.finish().map_err(corrupt)?;
                    return Ok(None);
                }
            }
        }
    }
}

/// Meilisearch's words for a compressed body that cannot be decompressed.
fn corrupt(_: Corrupt) -> ApiError {
    ApiError::new(Code::BadRequest, "The provided payload is incomplete and cannot be parsed")
}

fn broken(error: Box<pingora::Error>) -> ApiError {
    ApiError::new(Code::BadRequest, format!("The request's body could not be read: {error}."))
}

/// A size as Meilisearch prints it: in binary units when it is a whole number of kibibytes.
fn size(bytes: u64) -> String {
    let (step, units) = if bytes.is_multiple_of(1024) {
        (1024.0, ["B", "KiB", "MiB", "GiB"])
    } else {
        (1000.0, ["B", "KB", "MB", "GB"])
    };
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    format!("{value} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_as_meilisearchs() {
        assert_eq!(size(104_857_600), "100 MiB");
        assert_eq!(size(1_500_000), "1.5 MB");
        assert_eq!(size(12), "12 B");
    }
}
