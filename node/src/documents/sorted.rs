//! Documents in the order of their values, without a search.

use milli_core::heed_codec::facet::{FacetGroupKey, FacetGroupValue};
use milli_core::{distance_between_two_points, is_faceted, AscDesc, DocumentId, FieldId, Member};
use roaring::RoaringBitmap;

use crate::error::{Code, ResponseError};
use crate::search::stored::{Reader, GEO_FIELD};

/// What documents are ordered by.
enum Criterion {
    Field { id: FieldId, ascending: bool },
    Distance { from: [f64; 2], ascending: bool },
}

/// The first `count` candidates in the order of the criteria: numbers before strings in both directions, documents
/// without a value last, equal ones in the order in which they were added.
pub fn first_sorted(
    reader: &Reader<'_>,
    candidates: RoaringBitmap,
    sort: &[AscDesc],
    count: usize,
) -> Result<Vec<DocumentId>, ResponseError> {
    let criteria = criteria(reader, sort)?;
    let mut sorted = Vec::new();
    append_sorted(reader, candidates, &criteria, count, &mut sorted)?;
    Ok(sorted)
}

fn criteria(reader: &Reader<'_>, sort: &[AscDesc]) -> Result<Vec<Criterion>, ResponseError> {
    let sortable = reader.index.sortable_fields(reader.rtxn)?;
    let mut criteria = Vec::new();
    for criterion in sort {
        let ascending = matches!(criterion, AscDesc::Asc(_));
        match criterion.member() {
            Member::Field(name) if is_faceted(name, &sortable) => {
                // A field that no document has orders nothing.
                let id = reader.fields.id(name);
                criteria.extend(id.map(|id| Criterion::Field { id, ascending }));
            }
            Member::Geo(point) if sortable.contains(GEO_FIELD) => {
                criteria.push(Criterion::Distance { from: *point, ascending });
            }
            Member::Field(name) => return Err(not_sortable(name, &sortable)),
            Member::Geo(_) => return Err(not_sortable(GEO_FIELD, &sortable)),
        }
    }
    Ok(criteria)
}

fn not_sortable(name: &str, sortable: &std::collections::HashSet<String>) -> ResponseError {
    let mut available: Vec<&str> = sortable.iter().map(String::as_str).collect();
    available.sort_unstable();
    let hint = if available.is_empty() {
        "This index does not have configured sortable attributes.".to_owned()
    } else {
        format!("Available sortable attributes are: `{}`.", available.join(", "))
    };
    let message = format!("Attribute `{name}` is not sortable. {hint}");
    ResponseError::new(Code::InvalidDocumentSort, message)
}

fn append_sorted(
    reader: &Reader<'_>,
    mut candidates: RoaringBitmap,
    criteria: &[Criterion],
    count: usize,
    sorted: &mut Vec<DocumentId>,
) -> Result<(), ResponseError> {
    let missing = count.saturating_sub(sorted.len());
    if missing == 0 || candidates.is_empty() {
        return Ok(());
    }
    let Some((first, rest)) = criteria.split_first() else {
        sorted.extend(candidates.into_iter().take(missing));
        return Ok(());
    };
    let mut append_bucket = |bucket: RoaringBitmap| -> Result<Progress, ResponseError> {
        let bucket = bucket & &candidates;
        candidates -= &bucket;
        append_sorted(reader, bucket, rest, count, sorted)?;
        let is_done = sorted.len() >= count || candidates.is_empty();
        Ok(if is_done { Progress::Done } else { Progress::More })
    };
    match first {
        Criterion::Field { id, ascending } => {
            if append_numbers(reader, *id, *ascending, &mut append_bucket)? == Progress::More {
                append_strings(reader, *id, *ascending, &mut append_bucket)?;
            }
        }
        Criterion::Distance { from, ascending } => {
            let ids = reader.index.geo_faceted_documents_ids(reader.rtxn)?;
            for bucket in by_distance(reader, ids, from, *ascending)? {
                if append_bucket(bucket)? == Progress::Done {
                    break;
                }
            }
        }
    }
    append_sorted(reader, candidates, rest, count, sorted)
}

/// Whether an order needs more documents.
#[derive(PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

type Append<'a> = dyn FnMut(RoaringBitmap) -> Result<Progress, ResponseError> + 'a;

fn append_numbers(
    reader: &Reader<'_>,
    field_id: FieldId,
    ascending: bool,
    append: &mut Append<'_>,
) -> Result<Progress, ResponseError> {
    let key = |left_bound| FacetGroupKey { field_id, level: 0, left_bound };
    let all = key(f64::MIN)..=key(f64::MAX);
    let database = reader.index.facet_id_f64_docids;
    if ascending {
        for entry in database.range(reader.rtxn, &all)? {
            let (_, FacetGroupValue { bitmap, .. }) = entry?;
            if append(bitmap)? == Progress::Done {
                return Ok(Progress::Done);
            }
        }
    } else {
        for entry in database.rev_range(reader.rtxn, &all)? {
            let (_, FacetGroupValue { bitmap, .. }) = entry?;
            if append(bitmap)? == Progress::Done {
                return Ok(Progress::Done);
            }
        }
    }
    Ok(Progress::More)
}

fn append_strings(
    reader: &Reader<'_>,
    field_id: FieldId,
    ascending: bool,
    append: &mut Append<'_>,
) -> Result<Progress, ResponseError> {
    let all = FacetGroupKey { field_id, level: 0, left_bound: "" };
    let database = reader.index.facet_id_string_docids;
    if ascending {
        for entry in database.prefix_iter(reader.rtxn, &all)? {
            let (_, FacetGroupValue { bitmap, .. }) = entry?;
            if append(bitmap)? == Progress::Done {
                return Ok(Progress::Done);
            }
        }
    } else {
        for entry in database.rev_prefix_iter(reader.rtxn, &all)? {
            let (_, FacetGroupValue { bitmap, .. }) = entry?;
            if append(bitmap)? == Progress::Done {
                return Ok(Progress::Done);
            }
        }
    }
    Ok(Progress::More)
}

/// Documents that have a point, one by one, nearest or farthest first.
fn by_distance(
    reader: &Reader<'_>,
    ids: RoaringBitmap,
    from: &[f64; 2],
    ascending: bool,
) -> Result<Vec<RoaringBitmap>, ResponseError> {
    let mut distances = Vec::new();
    for id in ids {
        if let Some(point) = reader.point(id)? {
            distances.push((distance_between_two_points(from, &point), id));
        }
    }
    distances.sort_by(|left, right| {
        let order = left.0.total_cmp(&right.0);
        let order = if ascending { order } else { order.reverse() };
        order.then(left.1.cmp(&right.1))
    });
    Ok(distances.into_iter().map(|(_, id)| RoaringBitmap::from_iter([id])).collect())
}
