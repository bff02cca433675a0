//! What renaming and swapping does to the names of indexes.

use std::collections::BTreeSet;

use super::records::NameChanges;
use super::task::Swap;
use crate::error::{Code, ResponseError};
use crate::indexes::Indexes;

/// The changes that make the index `from` be called `to`.
pub fn after_renaming(indexes: &Indexes, from: &str, to: &str) -> Result<NameChanges, ResponseError> {
    if from == to {
        return Ok(NameChanges::default());
    }
    if indexes.contains(to) {
        return Err(ResponseError::new(Code::IndexAlreadyExists, format!("Index `{to}` already exists.")));
    }
    let directory = indexes.directory(from).ok_or_else(|| ResponseError::index_not_found(from))?;
    Ok(NameChanges {
        removed: vec![from.to_owned()],
        set: vec![(to.to_owned(), directory)],
        swapped: vec![(from.to_owned(), to.to_owned())],
    })
}

/// The changes of all swaps together, which the request made sure to be of different indexes.
pub fn after_swaps(indexes: &Indexes, swaps: &[Swap]) -> Result<NameChanges, ResponseError> {
    refuse_missing(indexes, swaps)?;
    refuse_taken(indexes, swaps)?;
    let mut names = NameChanges::default();
    for Swap { indexes: [left, right], rename } in swaps {
        if *rename {
            let renamed = after_renaming(indexes, left, right)?;
            names.removed.extend(renamed.removed);
            names.set.extend(renamed.set);
            names.swapped.extend(renamed.swapped);
            continue;
        }
        names.swapped.push((left.clone(), right.clone()));
        for (uid, other) in [(left, right), (right, left)] {
            let directory = indexes.directory(other).ok_or_else(|| ResponseError::index_not_found(other))?;
            names.set.push((uid.clone(), directory));
        }
    }
    Ok(names)
}

/// Every index that is swapped or renamed has to be there.
fn refuse_missing(indexes: &Indexes, swaps: &[Swap]) -> Result<(), ResponseError> {
    let wanted = swaps.iter().flat_map(|Swap { indexes: [left, right], rename }| match rename {
        true => vec![left],
        false => vec![left, right],
    });
    let missing: BTreeSet<&String> = wanted.filter(|uid| !indexes.contains(uid)).collect();
    match (missing.len(), missing.first()) {
        (_, None) => Ok(()),
        (1, Some(uid)) => Err(ResponseError::index_not_found(uid)),
        _ => Err(ResponseError::new(Code::IndexNotFound, format!("Indexes {} not found.", quoted(missing)))),
    }
}

/// No new name may be taken.
fn refuse_taken(indexes: &Indexes, swaps: &[Swap]) -> Result<(), ResponseError> {
    let taken: Vec<[&String; 2]> = swaps
        .iter()
        .filter(|swap| swap.rename && indexes.contains(&swap.indexes[1]))
        .map(|Swap { indexes: [from, to], .. }| [from, to])
        .collect();
    let message = match taken.as_slice() {
        [] => return Ok(()),
        [[from, to]] => format!(
            "Cannot rename `{from}` to `{to}` as the index already exists. Hint: You can remove `{to}` first and \
             then do your remove."
        ),
        several => format!(
            "The following indexes are being renamed but cannot because their new name conflicts with an already \
             existing index: {}. Renaming doesn't overwrite the other index name.",
            quoted(several.iter().map(|[_, to]| *to))
        ),
    };
    Err(ResponseError::new(Code::IndexAlreadyExists, message))
}

fn quoted<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
