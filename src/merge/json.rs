//! A cursor over the JSON that nodes answer: finds the ends of values, builds nothing.
//!
//! It trusts that a node writes well-formed JSON as far as speed needs (the inside of numbers and the balance of bracket
//! kinds are not checked) and never reads outside of its bytes: what it cannot read becomes a [`JsonError`].

use std::borrow::Cow;
use std::ops::Range;

/// What is wrong with a node's JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    pub what: &'static str,
    pub at: usize,
}

pub type Result<T> = std::result::Result<T, JsonError>;

/// A member of an object, as ranges of the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The opening quote of the key.
    pub start: usize,
    /// The closing quote of the key.
    pub key_end: usize,
    pub value_start: usize,
    pub value_end: usize,
}

impl Member {
    /// The key between its quotes, escapes not resolved.
    pub fn raw_key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start + 1..self.key_end]
    }

    pub fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.value_start..self.value_end]
    }

    pub fn value_range(&self) -> Range<usize> {
        self.value_start..self.value_end
    }
}

/// A position in a node's answer.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    pub fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    fn error<T>(&self, what: &'static str) -> Result<T> {
        Err(JsonError { what, at: self.at })
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not whitespace; it stays where it is.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_whitespace();
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<()> {
        if self.peek() != Some(byte) {
            return self.error(what);
        }
        self.at += 1;
        Ok(())
    }

    /// Goes into an object; then [`Cursor::next_member`] gives its members.
    pub fn enter_object(&mut self) -> Result<()> {
        self.expect(b'{', "expected an object")
    }

    /// Goes into an array; then [`Cursor::next_element`] says whether another element follows.
    pub fn enter_array(&mut self) -> Result<()> {
        self.expect(b'[', "expected an array")
    }

    /// Whether an element follows; the cursor then stands at its first byte. At the end the cursor stands behind the `]`.
    pub fn next_element(&mut self) -> Result<bool> {
        if self.peek() == Some(b',') {
            self.at += 1;
        }
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Ok(true),
            None => self.error("an array does not end"),
        }
    }

    /// Reads a key and its colon. `None` at the object's end, with the cursor behind the `}`.
    /// The cursor then stands at the first byte of the value.
    pub fn next_key(&mut self) -> Result<Option<(usize, usize)>> {
        if self.peek() == Some(b',') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b'"') => {}
            _ => return self.error("expected a key"),
        }
        let start = self.at;
        self.skip_string()?;
        let key_end = self.at - 1;
        self.expect(b':', "expected a colon")?;
        self.skip_whitespace();
        Ok(Some((start, key_end)))
    }

    /// The next member whole. `None` at the object's end, with the cursor behind the `}`.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        let Some((start, key_end)) = self.next_key()? else { return Ok(None) };
        let value_start = self.at;
        self.skip_value()?;
        Ok(Some(Member { start, key_end, value_start, value_end: self.at }))
    }

    /// Goes behind a string whose opening quote is the current byte.
    #[inline]
    fn skip_string(&mut self) -> Result<()> {
        let mut at = self.at + 1;
        // Keys and most values are short: a plain loop beats the set-up of a vector search on them.
        let short_end = (at + SHORT_STRING).min(self.bytes.len());
        while at < short_end {
            match self.bytes[at] {
                b'"' => {
                    self.at = at + 1;
                    return Ok(());
                }
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.skip_long_string(at)
    }

    /// Goes behind a string that has been looked at up to `at`.
    #[inline(never)]
    fn skip_long_string(&mut self, mut at: usize) -> Result<()> {
        while let Some(found) = self.bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
            if self.bytes[at + found] == b'"' {
                self.at = at + found + 1;
                return Ok(());
            }
            at += found + 2;
        }
        self.error("a string does not end")
    }

    /// Goes behind the value that starts here.
    pub fn skip_value(&mut self) -> Result<Range<usize>> {
        self.skip_whitespace();
        let start = self.at;
        match self.bytes.get(self.at) {
            Some(b'"') => self.skip_string()?,
            Some(b'{' | b'[') => self.skip_container()?,
            Some(_) => {
                while self.bytes.get(self.at).is_some_and(|&byte| !ENDS_SCALAR[usize::from(byte)]) {
                    self.at += 1;
                }
                if self.at == start {
                    return self.error("expected a value");
                }
            }
            None => return self.error("expected a value"),
        }
        Ok(start..self.at)
    }

    /// Goes behind the value that starts here if it is this whole object to the byte, and says whether it is.
    pub fn skip_same_object(&mut self, object: &[u8]) -> bool {
        // An object ends where its last brace is, so no longer value can begin with it.
        let same = object.first() == Some(&b'{') && self.bytes[self.at..].starts_with(object);
        if same {
            self.at += object.len();
        }
        same
    }

    /// Goes behind the object or array that starts here. Depth is counted, not recursed into: no answer, however deep,
    /// can exhaust the stack.
    fn skip_container(&mut self) -> Result<()> {
        let mut depth = 0usize;
        while let Some(&byte) = self.bytes.get(self.at) {
            if !IS_STRUCTURE[usize::from(byte)] {
                self.at += 1;
                continue;
            }
            match byte {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        self.error("an object or array does not end")
    }
}

/// Bytes at which a number, `true`, `false` or `null` has ended.
const ENDS_SCALAR: [bool; 256] = byte_set(b",}] \n\r\t");
/// Bytes that change the depth, or hide what does.
const IS_STRUCTURE: [bool; 256] = byte_set(b"\"{}[]");

const fn byte_set(bytes: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut n = 0;
    while n < bytes.len() {
        set[bytes[n] as usize] = true;
        n += 1;
    }
    set
}

/// Bytes of a string that are looked at one by one before a vector search takes over.
const SHORT_STRING: usize = 16;

/// The members of an object, in order.
pub fn members(object: &[u8]) -> Result<Vec<Member>> {
    let mut cursor = Cursor::new(object);
    cursor.enter_object()?;
    let mut members = Vec::new();
    while let Some(member) = cursor.next_member()? {
        members.push(member);
    }
    Ok(members)
}

/// A JSON string, quotes included, as text. `None` when it is not one.
pub fn string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice::<String>(raw).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

/// A JSON number. `None` when it is not one.
pub fn number(raw: &[u8]) -> Option<f64> {
    match raw {
        [digit] if digit.is_ascii_digit() => Some(f64::from(digit - b'0')),
        b"1.0" => Some(1.0),
        [b'0'..=b'9' | b'-', ..] => std::str::from_utf8(raw).ok()?.parse().ok(),
        _ => None,
    }
}

/// A JSON number that is a count. `None` when it is not one.
pub fn count(raw: &[u8]) -> Option<u64> {
    if let [digit @ b'0'..=b'9'] = raw {
        return Some(u64::from(digit - b'0'));
    }
    std::str::from_utf8(raw).ok()?.parse().ok()
}

/// Whether a raw key is this name. Names that no node needs to escape compare as bytes; others are decoded.
pub fn key_is(raw_key: &[u8], name: &str) -> bool {
    if raw_key.contains(&b'\\') {
        let quoted = [b"\"", raw_key, b"\""].concat();
        return string(&quoted).is_some_and(|key| key == name);
    }
    raw_key == name.as_bytes()
}

/// Appends a text as a JSON string.
pub fn push_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing a string to memory cannot fail");
}

/// Appends a count.
pub fn push_count(count: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(count.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_found_whatever_they_hold() {
        let text = br#" { "a\"b" : [1,{"x":"]}"}] , "c":"\\", "d":-1.5e3,"e":{} } "#;
        let found: Vec<_> = members(text)
            .unwrap()
            .iter()
            .map(|m| {
                (
                    String::from_utf8_lossy(m.raw_key(text)).into_owned(),
                    String::from_utf8_lossy(m.value(text)).into_owned(),
                )
            })
            .collect();
        let expected = [("a\\\"b", r#"[1,{"x":"]}"}]"#), ("c", r#""\\""#), ("d", "-1.5e3"), ("e", "{}")];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(key_is(br#"a\"b"#, "a\"b"));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Into::into),
            "\\PC{0,40}".prop_map(Into::into),
            "[\"\\\\{}\\[\\],:]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map("\\PC{0,6}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_ends_where_serde_says(value in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
            let mut cursor = Cursor::new(&text);
            prop_assert_eq!(cursor.skip_value(), Ok(0..text.len()));
        }

        #[test]
        fn only_the_same_object_is_skipped_as_such(before in any_json(), value in any_json()) {
            let before = serde_json::to_vec(&before).unwrap();
            for value in [&serde_json::to_vec(&value).unwrap(), &before] {
                let followed = [value.as_slice(), b",1]"].concat();
                let mut cursor = Cursor::new(&followed);
                let same = cursor.skip_same_object(&before);
                prop_assert_eq!(same, before[0] == b'{' && *value == before);
                prop_assert_eq!(cursor.position(), if same { value.len() } else { 0 });
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0usize..60) {
            let _ = members(&bytes);
            let torn = br#"{"hits":[{"id":1,"name":"a\"b","_formatted":{"a":[1,2]}}],"query":"x"}"#;
            let _ = members(&torn[..cut.min(torn.len())]);
            let _ = Cursor::new(&bytes).skip_value();
        }
    }
}
