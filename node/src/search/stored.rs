//! Documents as the engine stores them, turned back into JSON for those who may see them.

use std::collections::BTreeSet;

use milli_core::heed::RoTxn;
use milli_core::{DocumentId, FieldId, FieldsIdsMap, Index, InternalError, Object};
use serde_json::{json, Value};

use super::select::{is_within, select};

/// Where user-provided and generated vectors are found in a document.
pub const VECTORS_FIELD: &str = "_vectors";
/// Where a document's point on Earth is found.
pub const GEO_FIELD: &str = "_geo";

/// Reads one index within one transaction.
pub struct Reader<'a> {
    pub index: &'a Index,
    pub rtxn: &'a RoTxn<'a>,
    pub fields: FieldsIdsMap,
    /// The fields that searches show.
    displayed: BTreeSet<FieldId>,
    displays_vectors: bool,
}

impl<'a> Reader<'a> {
    pub fn new(index: &'a Index, rtxn: &'a RoTxn<'a>) -> milli_core::Result<Self> {
        let fields = index.fields_ids_map(rtxn)?;
        let displayed = match index.displayed_fields_ids(rtxn)? {
            Some(ids) => ids.into_iter().collect(),
            None => fields.ids().collect(),
        };
        let displays_vectors = index.displayed_fields(rtxn)?.is_none_or(|names| names.contains(&VECTORS_FIELD));
        Ok(Self { index, rtxn, fields, displayed, displays_vectors })
    }

    /// The fields that searches show. Reading a document by its id shows all.
    pub fn displayed(&self) -> &BTreeSet<FieldId> {
        &self.displayed
    }

    /// Whether searches may show vectors.
    pub fn displays_vectors(&self) -> bool {
        self.displays_vectors
    }

    /// Those of the attributes that exist and that searches show; `*` stands for all, and so does `None`.
    pub fn retrieved(&self, attributes: Option<&[String]>) -> BTreeSet<FieldId> {
        match attributes {
            Some(names) if !names.iter().any(|name| name == "*") => {
                let ids = names.iter().filter_map(|name| self.fields.id(name));
                ids.filter(|id| self.displayed.contains(id)).collect()
            }
            _ => self.displayed.clone(),
        }
    }

    pub fn names<'b>(&'b self, ids: impl IntoIterator<Item = &'b FieldId>) -> Vec<&'b str> {
        ids.into_iter().filter_map(|id| self.fields.name(*id)).collect()
    }

    /// The document, reduced to what the paths name. Fields that no path touches are not even parsed.
    pub fn document(&self, id: DocumentId, paths: &[&str]) -> milli_core::Result<Object> {
        let mut document = Object::new();
        for (field, bytes) in self.index.document(self.rtxn, id)?.iter() {
            let Some(name) = self.fields.name(field) else { continue };
            if paths.iter().any(|path| is_within(path, name)) {
                let value = serde_json::from_slice(bytes).map_err(InternalError::SerdeJson)?;
                document.insert(name.to_owned(), value);
            }
        }
        Ok(select(document, paths))
    }

    /// Where on Earth the document is: latitude and longitude.
    pub fn point(&self, id: DocumentId) -> milli_core::Result<Option<[f64; 2]>> {
        Ok(point_of(&self.document(id, &[GEO_FIELD])?))
    }

    /// The document with the given fields and, if asked for, the vectors; without them when not asked for, even if the
    /// document was sent with some.
    pub fn document_for_client(
        &self,
        id: DocumentId,
        fields: &BTreeSet<FieldId>,
        with_vectors: bool,
    ) -> milli_core::Result<Object> {
        let mut paths = self.names(fields);
        paths.retain(|path| !is_within(path, VECTORS_FIELD));
        if with_vectors {
            paths.push(VECTORS_FIELD);
        }
        let mut document = self.document(id, &paths)?;
        if with_vectors {
            let vectors = self.vectors(id, document.remove(VECTORS_FIELD))?;
            document.insert(VECTORS_FIELD.to_owned(), Value::Object(vectors));
        }
        Ok(document)
    }

    /// What the document itself says about vectors, completed by those that the engine holds.
    fn vectors(&self, id: DocumentId, own: Option<Value>) -> milli_core::Result<Object> {
        let mut vectors = match own {
            Some(Value::Object(own)) => own,
            _ => Object::new(),
        };
        let configurations = self.index.embedding_configs(self.rtxn)?;
        for (embedder, embeddings) in self.index.embeddings(self.rtxn, id)? {
            let is_user_provided =
                configurations.iter().any(|config| config.name == embedder && config.user_provided.contains(id));
            let value = json!({ "embeddings": embeddings, "regenerate": !is_user_provided });
            vectors.insert(embedder, value);
        }
        Ok(vectors)
    }
}

/// Where on Earth the document says that it is: latitude and longitude.
pub fn point_of(document: &Object) -> Option<[f64; 2]> {
    let point = document.get(GEO_FIELD)?;
    let coordinate = |name: &str| match point.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    Some([coordinate("lat")?, coordinate("lng")?])
}
