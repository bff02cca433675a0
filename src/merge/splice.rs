//! What of a hit the client may see: raw bytes copied, members left out.

use super::distinct;
use super::json::{self, Cursor, Member};
use super::stages::StageWords;
use crate::reserved;

const SCORE: &[u8] = b"_rankingScore";
const DETAILS: &[u8] = b"_rankingScoreDetails";
const FORMATTED: &[u8] = b"_formatted";
/// Where a hit of a federated answer is from.
pub const FEDERATION: &[u8] = b"_federation";
const MATCHES_POSITION: &[u8] = b"_matchesPosition";

/// An attribute that the client did not ask for and the merge needs, so that legs are asked for it and clients are not
/// shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedAttribute {
    pub name: String,
    /// Whether the client asked for other attributes within the same top-level member (`seller.name` beside `seller.id`),
    /// which must stay when this one goes.
    pub shares_member: bool,
    /// Whether the client's `_formatted` holds it anyway, because it is highlighted or cropped.
    pub stays_in_formatted: bool,
}

/// What a client's request says of what each hit shows.
#[derive(Clone, Debug, Default)]
pub struct Visibility {
    pub ranking_score: bool,
    pub ranking_score_details: bool,
    pub added: Vec<AddedAttribute>,
}

/// Where a hit lies in its leg's answer, and those of its members that the merge cares about.
#[derive(Clone, Debug)]
pub struct Hit {
    pub start: usize,
    pub end: usize,
    /// Range in the leg's list of marked members.
    pub marked: std::ops::Range<usize>,
}

impl Hit {
    /// Reads over the hit at the cursor. Marked are members whose names start with `_` (scores, formatting, Miroir's own)
    /// and those that may hold a `needed` attribute.
    pub fn scan(bytes: &[u8], cursor: &mut Cursor, needed: &[&str], marked: &mut Vec<Member>) -> json::Result<Self> {
        let first = marked.len();
        let details_before = marked.last().filter(|member| member.raw_key(bytes) == DETAILS);
        let details_before = details_before.map_or(&[][..], |member| member.value(bytes));
        cursor.peek();
        let start = cursor.position();
        cursor.enter_object()?;
        while let Some((key_start, key_end)) = cursor.next_key()? {
            let value_start = cursor.position();
            let key = &bytes[key_start + 1..key_end];
            // Hits that are tied have the same details, which are compared faster than they are read over.
            if key != DETAILS || !cursor.skip_same_object(details_before) {
                cursor.skip_value()?;
            }
            let member = Member { start: key_start, key_end, value_start, value_end: cursor.position() };
            if key.first() == Some(&b'_') || needed.iter().any(|attribute| distinct::may_hold(key, attribute)) {
                marked.push(member);
            }
        }
        Ok(Self { start, end: cursor.position(), marked: first..marked.len() })
    }
}

/// `_rankingScoreDetails` of a hit. The last of that name: Meilisearch writes it behind the document's own fields.
pub fn ranking_score_details<'a>(bytes: &'a [u8], marked: &[Member]) -> Option<&'a [u8]> {
    last_named(bytes, marked, DETAILS)
}

/// `_rankingScore` of a hit.
pub fn ranking_score(bytes: &[u8], marked: &[Member]) -> Option<f64> {
    last_named(bytes, marked, SCORE).and_then(json::number)
}

fn last_named<'a>(bytes: &'a [u8], marked: &[Member], name: &[u8]) -> Option<&'a [u8]> {
    marked.iter().rev().find(|member| member.raw_key(bytes) == name).map(|member| member.value(bytes))
}

/// Appends a hit as the client may see it; `words` when it is one of a stage.
pub fn push_hit(
    bytes: &[u8],
    hit: &Hit,
    marked: &[Member],
    visible: &Visibility,
    words: Option<&StageWords>,
    out: &mut Vec<u8>,
) {
    let mut writer = ObjectWriter::open(bytes, hit.start, out);
    for member in marked {
        match fate_in_hit(bytes, member, marked, visible, words) {
            Fate::Stays => {}
            Fate::Goes => writer.leave_out(member),
            Fate::Becomes(value) => writer.replace(member, &value),
        }
    }
    writer.close(hit.end);
}

/// Appends a hit of a federated answer as the client may see it, with this `_federation` in place of the node's; without any
/// for `None`.
pub fn push_federated_hit(
    bytes: &[u8],
    hit: &Hit,
    marked: &[Member],
    visible: &Visibility,
    origin: Option<Vec<u8>>,
    out: &mut Vec<u8>,
) {
    let mut writer = ObjectWriter::open(bytes, hit.start, out);
    for member in marked {
        let fate = match (member.raw_key(bytes), &origin) {
            (FEDERATION, Some(origin)) => Fate::Becomes(origin.clone()),
            (FEDERATION, None) => Fate::Goes,
            _ => fate_in_hit(bytes, member, marked, visible, None),
        };
        match fate {
            Fate::Stays => {}
            Fate::Goes => writer.leave_out(member),
            Fate::Becomes(value) => writer.replace(member, &value),
        }
    }
    writer.close(hit.end);
}

/// Appends any object without Miroir's own fields at its top level.
pub fn push_without_reserved(object: &[u8], out: &mut Vec<u8>) -> json::Result<()> {
    let members = json::members(object)?;
    let start = object.iter().position(|&byte| byte == b'{').unwrap_or(0);
    let end = object.iter().rposition(|&byte| byte == b'}').map_or(object.len(), |at| at + 1);
    let mut writer = ObjectWriter::open(object, start, out);
    for member in members.iter().filter(|member| reserved::is_reserved(member.raw_key(object))) {
        writer.leave_out(member);
    }
    writer.close(end);
    Ok(())
}

/// What becomes of a member.
enum Fate {
    Stays,
    Goes,
    Becomes(Vec<u8>),
}

fn fate_in_hit(
    bytes: &[u8],
    member: &Member,
    marked: &[Member],
    visible: &Visibility,
    words: Option<&StageWords>,
) -> Fate {
    let key = member.raw_key(bytes);
    match key {
        SCORE if !visible.ranking_score => return Fate::Goes,
        DETAILS if !visible.ranking_score_details => return Fate::Goes,
        SCORE | DETAILS => {
            let in_stage =
                |words| ranked_in_stage(key, member.value(bytes), words, ranking_score_details(bytes, marked));
            return words.map_or(Fate::Stays, in_stage);
        }
        FORMATTED => {
            let added: Vec<_> = visible.added.iter().filter(|added| !added.stays_in_formatted).collect();
            return fate_of_nested(member.value(bytes), &added, EmptyObject::Goes);
        }
        MATCHES_POSITION => return fate_of_nested(member.value(bytes), &[], EmptyObject::Stays),
        _ => {}
    }
    fate_of_field(key, member.value(bytes), &visible.added.iter().collect::<Vec<_>>())
}

/// What becomes of a score, or of its details, when the node that gave it did not know of the words that were dropped.
fn ranked_in_stage(key: &[u8], value: &[u8], words: &StageWords, details: Option<&[u8]>) -> Fate {
    match (key, json::number(value)) {
        (SCORE, Some(score)) => Fate::Becomes(words.score(score, details).to_string().into_bytes()),
        (DETAILS, _) => Fate::Becomes(words.details(value)),
        _ => Fate::Stays,
    }
}

/// What becomes of a document's own field, at the top of a hit or inside `_formatted`.
fn fate_of_field(key: &[u8], value: &[u8], added: &[&AddedAttribute]) -> Fate {
    if reserved::is_reserved(key) {
        return Fate::Goes;
    }
    let Some(added) = added.iter().find(|added| distinct::may_hold(key, &added.name)) else { return Fate::Stays };
    if !added.shares_member || json::key_is(key, &added.name) {
        return Fate::Goes;
    }
    let top = json::string(&[b"\"", key, b"\""].concat()).unwrap_or_default().into_owned();
    let path = added.name.get(top.len() + 1..).unwrap_or_default();
    match serde_json::from_slice(value) {
        Ok(mut tree) => {
            remove_at(&mut tree, path);
            Fate::Becomes(tree.to_string().into_bytes())
        }
        Err(_) => Fate::Stays,
    }
}

/// Removes the value at a dotted path, in each element where the path leads through arrays.
fn remove_at(value: &mut serde_json::Value, path: &str) {
    match value {
        serde_json::Value::Array(elements) => elements.iter_mut().for_each(|element| remove_at(element, path)),
        serde_json::Value::Object(members) => {
            members.shift_remove(path);
            for (key, inner) in members.iter_mut() {
                if let Some(rest) = path.strip_prefix(key.as_str()).and_then(|rest| rest.strip_prefix('.')) {
                    remove_at(inner, rest);
                }
            }
        }
        _ => {}
    }
}

/// Whether an object that lost all its members is still shown. Meilisearch leaves out an empty `_formatted`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EmptyObject {
    Stays,
    Goes,
}

/// What becomes of `_formatted` and `_matchesPosition`, whose members are named like fields.
fn fate_of_nested(object: &[u8], added: &[&AddedAttribute], empty: EmptyObject) -> Fate {
    let holds_reserved = memchr::memmem::find(object, reserved::SHARD_FIELD.as_bytes()).is_some();
    if !holds_reserved && added.is_empty() {
        return Fate::Stays;
    }
    let Ok(members) = json::members(object) else { return Fate::Stays };
    let mut rewritten = Vec::with_capacity(object.len());
    let mut writer = ObjectWriter::open(object, 0, &mut rewritten);
    for member in &members {
        match fate_of_field(member.raw_key(object), member.value(object), added) {
            Fate::Stays => {}
            Fate::Goes => writer.leave_out(member),
            Fate::Becomes(value) => writer.replace(member, &value),
        }
    }
    writer.close(object.len());
    match rewritten == b"{}" && empty == EmptyObject::Goes {
        true => Fate::Goes,
        false => Fate::Becomes(rewritten),
    }
}

/// Copies an object in runs of members that stay together.
struct ObjectWriter<'b, 'o> {
    bytes: &'b [u8],
    out: &'o mut Vec<u8>,
    /// Start of what has been neither copied nor left out.
    pending: usize,
    is_empty: bool,
}

impl<'b, 'o> ObjectWriter<'b, 'o> {
    /// Begins to copy the object whose opening brace is at `start`.
    fn open(bytes: &'b [u8], start: usize, out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { bytes, out, pending: start + 1, is_empty: true }
    }

    fn push(&mut self, members: &[u8]) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.out.extend_from_slice(members);
        self.is_empty = false;
    }

    /// Copies the members from the pending position up to `end`, without the commas around them.
    fn copy_until(&mut self, end: usize) {
        let is_between = |byte: &u8| *byte == b',' || byte.is_ascii_whitespace();
        let bytes = self.bytes;
        let mut run = &bytes[self.pending..end];
        while let [first, rest @ ..] = run {
            if !is_between(first) {
                break;
            }
            run = rest;
        }
        while let [rest @ .., last] = run {
            if !is_between(last) {
                break;
            }
            run = rest;
        }
        if !run.is_empty() {
            self.push(run);
        }
    }

    fn leave_out(&mut self, member: &Member) {
        self.copy_until(member.start);
        self.pending = member.value_end;
    }

    fn replace(&mut self, member: &Member, value: &[u8]) {
        self.leave_out(member);
        let key = &self.bytes[member.start..=member.key_end];
        self.push(key);
        self.out.push(b':');
        self.out.extend_from_slice(value);
    }

    /// Ends the object whose closing brace is the byte before `end`.
    fn close(mut self, end: usize) {
        self.copy_until(end - 1);
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hit: &str, visible: &Visibility) -> String {
        let needed: Vec<&str> = visible.added.iter().map(|added| added.name.as_str()).collect();
        let mut marked = Vec::new();
        let mut cursor = Cursor::new(hit.as_bytes());
        let layout = Hit::scan(hit.as_bytes(), &mut cursor, &needed, &mut marked).unwrap();
        let mut out = Vec::new();
        push_hit(hit.as_bytes(), &layout, &marked, visible, None, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn added(name: &str, shares_member: bool, stays_in_formatted: bool) -> Visibility {
        let added = AddedAttribute { name: name.to_owned(), shares_member, stays_in_formatted };
        Visibility { added: vec![added], ..Visibility::default() }
    }

    #[test]
    fn the_shard_is_nowhere_to_be_seen() {
        let hit = r#"{"_miroir_shard":"\ue003","id":1,"t":"a, }","_formatted":{"_miroir_shard":"x","id":"1"},"_matchesPosition":{"t":[{"start":0,"length":1}],"_miroir_shard":[]},"_rankingScore":0.5,"_rankingScoreDetails":{"words":{"order":0}}}"#;
        assert_eq!(
            shown(hit, &Visibility::default()),
            r#"{"id":1,"t":"a, }","_formatted":{"id":"1"},"_matchesPosition":{"t":[{"start":0,"length":1}]}}"#
        );
        let all = Visibility { ranking_score: true, ranking_score_details: true, added: Vec::new() };
        assert_eq!(
            shown(hit, &all),
            r#"{"id":1,"t":"a, }","_formatted":{"id":"1"},"_matchesPosition":{"t":[{"start":0,"length":1}]},"_rankingScore":0.5,"_rankingScoreDetails":{"words":{"order":0}}}"#
        );
    }

    #[test]
    fn a_hit_may_lose_everything() {
        let hit = r#"{"_miroir_shard":"x","_formatted":{"_miroir_shard":"x"},"_rankingScoreDetails":{}}"#;
        assert_eq!(shown(hit, &Visibility::default()), "{}");
        assert_eq!(shown("{}", &Visibility::default()), "{}");
        assert_eq!(
            shown(r#"{ "a" : 1 , "_miroir_shard" : "x" , "b":2 }"#, &Visibility::default()),
            r#"{"a" : 1,"b":2}"#
        );
    }

    #[test]
    fn an_attribute_that_only_the_merge_needed_goes_again() {
        let hit = r#"{"id":1,"brand":"x","_formatted":{"id":"1","brand":"x"}}"#;
        assert_eq!(shown(hit, &added("brand", false, false)), r#"{"id":1,"_formatted":{"id":"1"}}"#);
        assert_eq!(shown(hit, &added("brand", false, true)), r#"{"id":1,"_formatted":{"id":"1","brand":"x"}}"#);

        let nested = r#"{"seller":{"id":7,"name":"n"},"z":1}"#;
        assert_eq!(shown(nested, &added("seller.id", true, false)), r#"{"seller":{"name":"n"},"z":1}"#);
        assert_eq!(shown(nested, &added("seller.id", false, false)), r#"{"z":1}"#);
    }

    #[test]
    fn fields_whose_names_only_resemble_reserved_ones_stay() {
        let hit = r#"{"_miroir_shards":1,"miroir_shard":2,"note":"_miroir_shard","_geo":{"lat":1,"lng":2}}"#;
        assert_eq!(shown(hit, &Visibility::default()), hit);
    }
}
