//! The indexes of this node: which exist, and their open LMDB environments.

use crate::error::ResponseError;

pub struct Indexes;

impl Indexes {
    pub fn get(&self, uid: &str) -> Result<milli_core::Index, ResponseError> {
        Err(ResponseError::index_not_found(uid))
    }
}
