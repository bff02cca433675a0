//! Names of writes in the nodes' own task lists, where the route takes `customMetadata`: by its name a request is found again that
//! got no answer. A request that several writes share bears all their names.

/// Between the names of writes that share a request.
const SEPARATOR: char = ',';

/// A name that no other write has.
pub fn new() -> String {
    format!("miroir-{:016x}", fastrand::u64(..))
}

/// The path with the names of the writes whose request it is.
pub fn append<'a>(path_and_query: &str, markers: impl Iterator<Item = &'a str>) -> String {
    let mut marked = path_and_query.to_owned();
    marked.push(if path_and_query.contains('?') { '&' } else { '?' });
    marked.push_str("customMetadata=");
    for (n, marker) in markers.enumerate() {
        if n > 0 {
            marked.push(SEPARATOR);
        }
        marked.push_str(marker);
    }
    marked
}

/// The names in a node task's `customMetadata`.
pub fn all_in(custom_metadata: Option<&str>) -> impl Iterator<Item = &str> {
    custom_metadata.into_iter().flat_map(|markers| markers.split(SEPARATOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_all_writes_of_a_request_are_found_in_it() {
        let names = [new(), new(), new()];
        assert_ne!(names[0], names[1]);
        let path = append("/documents", names.iter().map(String::as_str));
        let (head, metadata) = path.split_once('=').unwrap();
        assert_eq!(head, "/documents?customMetadata");
        assert!(all_in(Some(metadata)).eq(names.iter().map(String::as_str)));
        assert_eq!(append("/documents?a=b", ["m"].into_iter()), "/documents?a=b&customMetadata=m");
        assert_eq!(all_in(None).count(), 0);
    }
}
