//! Bodies that come compressed (`Content-Encoding`), decompressed piece by piece.
//!
//! A few kilobytes may stand for gigabytes, so a decoder is never asked for all that a chunk contains: it fills one buffer
//! of fixed size at a time, and whoever reads on may stop at any of them.

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

/// Bytes that a decoder gives at a time: as much as Pingora gives of a body that is not compressed.
const PIECE_BYTES: usize = 64 << 10;

/// Window of deflate streams, as the power of two that is their format's largest.
const DEFLATE_WINDOW_LOG: u8 = 15;
/// Largest window of zstd streams that is accepted: 8 MiB, what RFC 9659 allows for this header. The format knows more.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What a stream that cannot be decoded is answered with: its bytes are not those that were compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// From `Content-Encoding`. A name that is not known means to Meilisearch that the bytes are taken as they are; a
    /// list of several is such a name. (`zstd`, which the format of the header knows too, is Miroir's alone.)
    pub fn of_header(content_encoding: &str) -> Option<Self> {
        let known = [("gzip", Self::Gzip), ("deflate", Self::Deflate), ("br", Self::Brotli), ("zstd", Self::Zstd)];
        let name = content_encoding.trim();
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| coding)
    }

    /// Most memory that a decoder takes: its window, and its tables.
    pub fn memory_bytes(self) -> u64 {
        match self {
            Coding::Gzip | Coding::Deflate => 64 << 10,
            Coding::Brotli => 17 << 20,
            Coding::Zstd => 9 << 20,
        }
    }
}

/// Decodes one body.
pub struct Decoder {
    stream: Stream,
    piece: Box<[u8]>,
    /// The last piece was full: there may be more where it came from.
    has_more: bool,
    has_read: bool,
    /// The stream's own end has been seen.
    has_ended: bool,
}

enum Stream {
    Gzip(Decompress),
    Deflate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(ZstdDecoder<'static>),
}

/// What one step took and gave.
struct Step {
    read: usize,
    written: usize,
    has_ended: bool,
}

impl Decoder {
    pub fn new(coding: Coding) -> std::io::Result<Self> {
        let stream = match coding {
            Coding::Gzip => Stream::Gzip(Decompress::new_gzip(DEFLATE_WINDOW_LOG)),
            Coding::Deflate => Stream::Deflate(Decompress::new(true)),
            // Strict: without the windows of up to a gigabyte that are no part of the format.
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Stream::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
                Stream::Zstd(decoder)
            }
        };
        let piece = vec![0; PIECE_BYTES].into_boxed_slice();
        Ok(Self { stream, piece, has_more: false, has_read: false, has_ended: false })
    }

    /// The next piece, decoded from the front of `input`, which is advanced. An empty one means that more input is needed.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Bytes, Corrupt> {
        while !input.is_empty() || self.has_more {
            self.has_read = true;
            let may_go_on = !self.has_ended || matches!(self.stream, Stream::Zstd(_));
            if !input.is_empty() && !may_go_on {
                // Meilisearch refuses what follows the end of a stream.
                return Err(Corrupt);
            }
            let step = self.stream.step(input, &mut self.piece)?;
            let is_stuck = step.read == 0 && step.written == 0 && !input.is_empty() && !step.has_ended;
            if is_stuck {
                return Err(Corrupt);
            }
            input.advance(step.read);
            self.has_ended = step.has_ended;
            self.has_more = step.written == self.piece.len() && !step.has_ended;
            if step.written > 0 {
                return Ok(Bytes::copy_from_slice(&self.piece[..step.written]));
            }
        }
        Ok(Bytes::new())
    }

    /// Whether a body may end here. Deflate and brotli streams that break off are taken as far as they went, as
    /// Meilisearch does it: what they contain has to be whole all the same.
    pub fn finish(&self) -> Result<(), Corrupt> {
        match self.stream {
            Stream::Gzip(_) if !self.has_ended => Err(Corrupt),
            Stream::Zstd(_) if self.has_read && !self.has_ended => Err(Corrupt),
            _ => Ok(()),
        }
    }
}

impl Stream {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Corrupt> {
        match self {
            Stream::Gzip(inflate) | Stream::Deflate(inflate) => {
                let (read, written) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, output, FlushDecompress::None).map_err(|_| Corrupt)?;
                Ok(Step {
                    read: (inflate.total_in() - read) as usize,
                    written: (inflate.total_out() - written) as usize,
                    has_ended: status == Status::StreamEnd,
                })
            }
            Stream::Brotli(state) => {
                let (mut read, mut written, mut written_ever) = (0, 0, 0);
                let (mut input_left, mut output_left) = (input.len(), output.len());
                let result = BrotliDecompressStream(
                    &mut input_left,
                    &mut read,
                    input,
                    &mut output_left,
                    &mut written,
                    output,
                    &mut written_ever,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(Corrupt),
                    result => Ok(Step { read, written, has_ended: matches!(result, BrotliResult::ResultSuccess) }),
                }
            }
            Stream::Zstd(decoder) => {
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(output);
                let hint = decoder.run(&mut input, &mut output).map_err(|_| Corrupt)?;
                Ok(Step { read: input.pos(), written: output.pos(), has_ended: hint == 0 })
            }
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
