//! The documents of one write, by shard, ready to be sent to any number of nodes.
//!
//! A document's bytes are copied once, from the client's chunk into its shard's buffers. Bodies for nodes are ropes over
//! those buffers: a shard with six replicas is sent from the same memory six times.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::memory::MemoryShare;
use crate::cluster::Shard;
use crate::reserved::SHARD_FIELD;

/// First buffer of a shard: holds a few documents, and costs little when thousands of shards get one document each.
const BUFFER_LEN_MIN: usize = 4 * 1024;
/// Largest buffer of a shard: what is left empty at its end is small against a body that fills it.
const BUFFER_LEN_MAX: usize = 256 * 1024;
/// A new buffer has this part of what its shard already holds, so that at most about that part is allocated in vain.
const BUFFER_GROWTH: usize = 4;

/// What a shard takes beside its documents: its place in the table, its head, its list of buffers.
const SHARD_BYTES: usize = 512;

/// Documents of one shard, separated by commas, in the order in which they came.
#[derive(Debug)]
struct ShardDocuments {
    /// What comes before a document's own members: the comma after the previous one, the brace, the shard.
    head: Vec<u8>,
    full: Vec<Bytes>,
    open: BytesMut,
    /// Bytes in `full`.
    full_len: usize,
    /// Memory of the buffers in `full`.
    full_capacity: usize,
    count: u64,
}

impl ShardDocuments {
    fn new(shard: Shard) -> Self {
        let head = format!(",{{\"{SHARD_FIELD}\":\"{}\",", shard.as_char()).into_bytes();
        Self { head, full: Vec::new(), open: BytesMut::new(), full_len: 0, full_capacity: 0, count: 0 }
    }

    /// Memory that the documents take, used or not.
    fn held_bytes(&self) -> usize {
        self.full_capacity + self.open.capacity()
    }

    fn append_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.append(if self.count == 0 { &head[1..] } else { &head });
        self.head = head;
        self.count += 1;
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.open.capacity() - self.open.len();
            if room == 0 {
                self.close_buffer();
                let len = (self.full_len / BUFFER_GROWTH).clamp(BUFFER_LEN_MIN, BUFFER_LEN_MAX);
                self.open = BytesMut::with_capacity(len);
                continue;
            }
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            self.open.extend_from_slice(fits);
            bytes = rest;
        }
    }

    /// Takes a buffer over as it is.
    fn append_owned(&mut self, bytes: Bytes, capacity: usize) {
        self.close_buffer();
        self.full_capacity += capacity;
        self.full_len += bytes.len();
        self.full.push(bytes);
    }

    fn close_buffer(&mut self) {
        if !self.open.is_empty() {
            self.full_len += self.open.len();
            self.full_capacity += self.open.capacity();
            self.full.push(std::mem::take(&mut self.open).freeze());
        }
    }
}

/// A document on its way into its shard's buffers: an object that has at least one field.
pub(super) enum DocumentBytes<'a> {
    InChunk(&'a [u8]),
    /// A document that arrived in several chunks and was put together in memory of its own.
    Assembled(Vec<u8>),
}

impl DocumentBytes<'_> {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            DocumentBytes::InChunk(bytes) => bytes,
            DocumentBytes::Assembled(bytes) => bytes,
        }
    }
}

/// Shards' buffers while a payload streams in.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    shards: HashMap<Shard, ShardDocuments>,
    held_bytes: usize,
}

impl BatchBuilder {
    /// Adds a document to its shard, with the shard as its first member.
    pub fn append(&mut self, shard: Shard, document: DocumentBytes) {
        debug_assert_eq!(document.as_slice().first(), Some(&b'{'));
        let documents = self.shards.entry(shard).or_insert_with(|| {
            self.held_bytes += SHARD_BYTES;
            ShardDocuments::new(shard)
        });
        let held_before = documents.held_bytes();
        documents.append_head();
        match document {
            DocumentBytes::Assembled(bytes) if bytes.len() >= BUFFER_LEN_MAX => {
                let capacity = bytes.capacity();
                documents.append_owned(Bytes::from(bytes).slice(1..), capacity);
            }
            document => documents.append(&document.as_slice()[1..]),
        }
        self.held_bytes += documents.held_bytes() - held_before;
    }

    /// Memory that all documents take, used or not.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub fn finish(self, primary_key: Option<String>, key_hashes: Vec<u64>, memory: MemoryShare) -> SplitBatch {
        let mut shards: Vec<ShardPieces> =
            self.shards.into_iter().map(|(shard, d)| ShardPieces::new(shard, d)).collect();
        shards.sort_unstable_by_key(|pieces| pieces.shard);
        SplitBatch { primary_key, key_hashes, shards, has_fields_for_nodes: false, _memory: memory }
    }
}

#[derive(Debug)]
struct ShardPieces {
    shard: Shard,
    documents: Vec<Bytes>,
    len: usize,
    count: u64,
}

impl ShardPieces {
    fn new(shard: Shard, mut documents: ShardDocuments) -> Self {
        documents.close_buffer();
        Self { shard, documents: documents.full, len: documents.full_len, count: documents.count }
    }
}

/// A whole payload that has been checked, cut and grouped.
#[derive(Debug)]
pub struct SplitBatch {
    primary_key: Option<String>,
    key_hashes: Vec<u64>,
    /// In the order of shards.
    shards: Vec<ShardPieces>,
    /// Some document has a field whose value only nodes check, so that they may fail the write for it.
    pub(super) has_fields_for_nodes: bool,
    /// Covers the documents as long as they are here.
    _memory: MemoryShare,
}

/// The body of one node's request: a JSON array, in pieces to be sent one after another.
#[derive(Clone, Debug)]
pub struct NodeBody {
    pub pieces: Vec<Bytes>,
    pub content_length: usize,
}

impl SplitBatch {
    /// The key that every node must be told. `None` only for a batch without documents and without a known key.
    pub fn primary_key(&self) -> Option<&str> {
        self.primary_key.as_deref()
    }

    /// Documents in the payload; one that is sent twice counts twice, as in a task's `receivedDocuments`.
    pub fn document_count(&self) -> u64 {
        self.key_hashes.len() as u64
    }

    /// Whether some document has a field that a node may fail the write for.
    pub fn has_fields_for_nodes(&self) -> bool {
        self.has_fields_for_nodes
    }

    /// The shards that have documents, in ascending order.
    pub fn shards(&self) -> impl Iterator<Item = Shard> + '_ {
        self.shards.iter().map(|pieces| pieces.shard)
    }

    /// All documents by shard, ascending: elements of a JSON array, separated by commas within a shard. Shares the batch's memory.
    pub fn elements(&self) -> Vec<(Shard, Vec<Bytes>)> {
        self.shards.iter().map(|pieces| (pieces.shard, pieces.documents.clone())).collect()
    }

    /// Documents of these shards together.
    pub fn document_count_of(&self, shards: &[Shard]) -> u64 {
        self.pieces_of(shards).map(|pieces| pieces.count).sum()
    }

    /// All documents of these (distinct) shards as one JSON array. Shares the batch's memory.
    pub fn body_for(&self, shards: &[Shard]) -> NodeBody {
        let mut pieces = vec![Bytes::from_static(b"[")];
        for of_shard in self.pieces_of(shards) {
            if pieces.len() > 1 {
                pieces.push(Bytes::from_static(b","));
            }
            pieces.extend(of_shard.documents.iter().cloned());
        }
        pieces.push(Bytes::from_static(b"]"));
        let content_length = pieces.iter().map(Bytes::len).sum();
        NodeBody { pieces, content_length }
    }

    /// Bytes of all documents, with their shards in them.
    pub fn byte_len(&self) -> usize {
        self.shards.iter().map(|pieces| pieces.len).sum()
    }

    /// Hash of every document's key, in the order of the payload: two writes that share none touch different documents.
    pub fn key_hashes(&self) -> &[u64] {
        &self.key_hashes
    }

    fn pieces_of<'a>(&'a self, shards: &'a [Shard]) -> impl Iterator<Item = &'a ShardPieces> + 'a {
        shards.iter().filter_map(|shard| {
            let at = self.shards.binary_search_by_key(shard, |pieces| pieces.shard).ok()?;
            Some(&self.shards[at])
        })
    }
}
