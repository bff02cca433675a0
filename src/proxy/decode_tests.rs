use std::io::Write as _;

use super::*;

fn compressed(coding: Coding, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
            encoder.write_all(text).unwrap();
            drop(encoder);
            out
        }
        Coding::Zstd => zstd::encode_all(text, 3).unwrap(),
    }
}

/// What a body decodes to when it comes in pieces of `piece_len`, with the length of the longest decoded piece.
fn decoded(coding: Coding, body: &[u8], piece_len: usize) -> Result<(Vec<u8>, usize), Corrupt> {
    let mut decoder = Decoder::new(coding).unwrap();
    let (mut whole, mut longest) = (Vec::new(), 0);
    for piece in body.chunks(piece_len) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            let piece = decoder.decode(&mut input)?;
            if piece.is_empty() {
                break;
            }
            longest = longest.max(piece.len());
            whole.extend_from_slice(&piece);
        }
        assert!(input.is_empty(), "all of a piece is taken before the next one is asked for");
    }
    decoder.finish()?;
    Ok((whole, longest))
}

const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

#[test]
fn a_body_is_the_same_however_it_was_compressed_and_cut() {
    let text: Vec<u8> = (0..40_000u32)
        .flat_map(|n| format!("{{\"id\":{n},\"x\":{}}},", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    for coding in ALL {
        let body = compressed(coding, &text);
        for piece_len in [1, 2, 7, 1_000, 65_536, body.len()] {
            assert!(decoded(coding, &body, piece_len).unwrap().0 == text, "{coding:?} in pieces of {piece_len}");
        }
        assert_eq!(decoded(coding, &compressed(coding, b""), 5).unwrap().0, b"", "{coding:?}");
    }
}

#[test]
fn a_bomb_is_decoded_in_pieces_of_bounded_size() {
    let zeros = vec![b' '; 64 << 20];
    for coding in ALL {
        let body = compressed(coding, &zeros);
        assert!(body.len() < zeros.len() / 900, "{coding:?}: {}", body.len());
        let (whole, longest) = decoded(coding, &body, body.len()).unwrap();
        assert_eq!((whole.len(), longest), (zeros.len(), PIECE_BYTES), "{coding:?}");
    }
}

/// What Meilisearch 1.50 says of each was seen; zstd, which it does not read, goes with gzip.
#[test]
fn what_is_corrupt_is_refused_as_meilisearch_refuses_it() {
    let text = b"[{\"id\":1}]";
    for coding in ALL {
        let body = compressed(coding, text);
        let cut = |bytes: usize| decoded(coding, &body[..body.len() - bytes], 4).map(|(text, _)| text);
        let lenient = matches!(coding, Coding::Deflate | Coding::Brotli);
        assert_eq!(cut(1).is_ok(), lenient, "{coding:?}: the last byte is missing");
        assert_eq!(decoded(coding, &[&body[..], b"xx"].concat(), 100), Err(Corrupt), "{coding:?}: more after the end");
        assert_eq!(decoded(coding, text, 100), Err(Corrupt), "{coding:?}: not compressed at all");
        assert_eq!(decoded(coding, b"", 1).is_ok(), coding != Coding::Gzip, "{coding:?}: nothing");
    }
    let gzip = compressed(Coding::Gzip, text);
    let mut wrong_sum = gzip.clone();
    wrong_sum[gzip.len() - 6] ^= 1;
    assert_eq!(decoded(Coding::Gzip, &wrong_sum, 100), Err(Corrupt));
    assert_eq!(decoded(Coding::Gzip, &[gzip.clone(), gzip].concat(), 100), Err(Corrupt), "two members");
    let zstd = compressed(Coding::Zstd, text);
    assert_eq!(decoded(Coding::Zstd, &[zstd.clone(), zstd].concat(), 7).unwrap().0, [text, &text[..]].concat());
}

#[test]
fn codings_are_known_by_name_and_lists_are_not() {
    assert_eq!(Coding::of_header(" GZip "), Some(Coding::Gzip));
    assert_eq!(Coding::of_header("br"), Some(Coding::Brotli));
    assert_eq!(Coding::of_header("deflate"), Some(Coding::Deflate));
    assert_eq!(Coding::of_header("zstd"), Some(Coding::Zstd));
    for other in ["identity", "x-gzip", "gzip, br", "", "compress"] {
        assert_eq!(Coding::of_header(other), None, "{other}");
    }
}
