//! Where does a JSON value end? Answered over any number of chunks, without looking at a byte twice.
//!
//! The scan only tells strings from structure and counts brackets; whether what lies between is JSON is for a real parser
//! to say, which then sees the whole value at once and never has to be suspended in the middle of one.

use memchr::memchr2;

/// Finds the end of one JSON value that may arrive in pieces.
#[derive(Debug)]
pub(super) struct ValueScanner {
    place: Place,
    /// Brackets and braces that are open. They are not told apart: a mismatch is left to the parser.
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first byte.
    Start,
    /// Inside an object or an array, outside strings.
    Structure,
    String,
    /// In a string, right after a backslash.
    Escape,
    /// In a number, a literal, or something that is no JSON at all.
    Scalar,
}

impl ValueScanner {
    pub fn new() -> Self {
        Self { place: Place::Start, depth: 0 }
    }

    /// Reads on. `Some(end)` when the value ends right before `bytes[end]`; `None` when all of `bytes` belongs to it.
    ///
    /// A scalar has no last byte of its own: it ends where a delimiter follows, so at the end of a payload it is still
    /// open.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.place {
                Place::Start => {
                    self.place = match bytes[at] {
                        b'{' | b'[' => {
                            self.depth = 1;
                            Place::Structure
                        }
                        b'"' => Place::String,
                        _ => Place::Scalar,
                    };
                    at += 1;
                }
                Place::Structure => match bytes[at..].iter().position(|&byte| TURNS[usize::from(byte)]) {
                    None => return None,
                    Some(skipped) => {
                        at += skipped + 1;
                        match bytes[at - 1] {
                            b'"' => self.place = Place::String,
                            b'{' | b'[' => self.depth += 1,
                            _ => {
                                self.depth -= 1;
                                if self.depth == 0 {
                                    return Some(at);
                                }
                            }
                        }
                    }
                },
                Place::String => match memchr2(b'"', b'\\', &bytes[at..]) {
                    None => return None,
                    Some(skipped) => {
                        at += skipped + 1;
                        if bytes[at - 1] == b'\\' {
                            self.place = Place::Escape;
                        } else if self.depth == 0 {
                            return Some(at);
                        } else {
                            self.place = Place::Structure;
                        }
                    }
                },
                Place::Escape => {
                    self.place = Place::String;
                    at += 1;
                }
                Place::Scalar => {
                    return bytes[at..].iter().position(|&byte| ends_scalar(byte)).map(|skipped| at + skipped)
                }
            }
        }
        None
    }
}

/// Bytes at which the scan outside strings has something to do.
const TURNS: [bool; 256] = {
    let mut turns = [false; 256];
    turns[b'"' as usize] = true;
    turns[b'{' as usize] = true;
    turns[b'}' as usize] = true;
    turns[b'[' as usize] = true;
    turns[b']' as usize] = true;
    turns
};

fn ends_scalar(byte: u8) -> bool {
    is_whitespace(byte) || matches!(byte, b',' | b']' | b'}' | b'[' | b'{' | b'"' | b':')
}

/// JSON's own whitespace, narrower than ASCII's.
pub(super) fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// End of the first value of `text`, found with the text cut into pieces of `piece` bytes.
    fn end_of_value(text: &str, piece: usize) -> Option<usize> {
        let mut scanner = ValueScanner::new();
        let mut before = 0;
        for piece in text.as_bytes().chunks(piece) {
            if let Some(end) = scanner.advance(piece) {
                return Some(before + end);
            }
            before += piece.len();
        }
        None
    }

    #[test]
    fn a_value_ends_at_the_same_byte_wherever_it_is_cut() {
        let cases = [
            (r#"{"a":"}"} x"#, Some(9)),
            (r#"{"a":"\"}"}{"#, Some(11)),
            (r#"{"a":"\\"},"#, Some(10)),
            (r#"{"a\\\"}":[{"b":[]},"]"]}]"#, Some(25)),
            (r#"["a"],"#, Some(5)),
            (r#""a\"b","#, Some(6)),
            ("12.5e3,", Some(6)),
            ("null]", Some(4)),
            (",1", None),
            ("null", None),
            (r#"{"a":"}"#, None),
            (r#"{"a":{}"#, None),
        ];
        for (text, expected) in cases {
            for piece in 1..=text.len() {
                assert_eq!(end_of_value(text, piece), expected, "{text} in pieces of {piece}");
            }
        }
    }
}
