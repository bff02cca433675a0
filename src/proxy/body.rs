//! A request's body as handlers read it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::proxy::Session;

use crate::api::Body;
use crate::error::{ApiError, Code};

/// Reads from the client, chunk by chunk, up to a size.
pub struct ClientBody<'s> {
    session: &'s mut Session,
    size_max: u64,
    read: u64,
    /// Longest wait for one chunk.
    chunk_timeout: Duration,
    continue_sent: bool,
}

impl<'s> ClientBody<'s> {
    pub fn new(session: &'s mut Session, size_max: u64, chunk_timeout: Duration) -> Self {
        Self { session, size_max, read: 0, chunk_timeout, continue_sent: false }
    }

    fn too_large(&self) -> ApiError {
        let message = format!(
            "The provided payload reached the size limit. The maximum accepted payload size is {}.",
            size(self.size_max)
        );
        ApiError::new(Code::PayloadTooLarge, message)
    }

    /// Clients that announce a large body wait to be told that it is welcome.
    async fn welcome(&mut self) -> Result<(), ApiError> {
        self.continue_sent = true;
        let announced = self.session.get_header(http::header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.size_max) {
            return Err(self.too_large());
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
}

#[async_trait]
impl Body for ClientBody<'_> {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        if !self.continue_sent {
            self.welcome().await?;
        }
        match pingora::time::timeout(self.chunk_timeout, self.session.read_request_body()).await {
            Ok(Ok(Some(chunk))) => {
                self.read += chunk.len() as u64;
                if self.read > self.size_max {
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
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.2} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_as_meilisearchs() {
        assert_eq!(size(104_857_600), "100.00 MiB");
        assert_eq!(size(1_500_000), "1.50 MB");
        assert_eq!(size(12), "12 B");
    }
}
