//! gzip, bounded while it inflates.

use super::Error;

/// A body is worth compressing only where it has more bytes than this, before compression: rpcx's rule. A reply
/// is compressed only where its request was, and where it is longer than this itself.
pub const WORTH_COMPRESSING: usize = 1024;

#[cfg(feature = "gzip")]
const CODEC: &str = "gzip";

/// Appends the compressed body to `out`.
///
/// # Errors
/// Only where the crate was built without the feature `gzip`.
#[cfg(feature = "gzip")]
pub fn compress(body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    use std::io::Write;
    let mut to = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    to.write_all(body).and_then(|()| to.finish().map(drop)).map_err(|e| Error::encode(CODEC, e))
}

/// The body as it was before compression. Several members in a row are one body, as Go reads them; anything else
/// behind a member is an error. A body that is compressed twice comes out compressed once.
///
/// Memory grows with what comes out, to `limit` bytes and one more at most.
///
/// # Errors
/// [`Error::is_too_large`] where more than `limit` bytes would come out (the setting is `body_limit`);
/// [`Error::is_body`] where the bytes are not gzip, are cut, or do not match their checksum.
///
/// There is no limit of the ratio: equal bytes shrink a thousand times, and what comes out is bounded.
#[cfg(feature = "gzip")]
pub fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut out = Vec::new();
    let mut from = flate2::bufread::MultiGzDecoder::new(body).take(most);
    from.read_to_end(&mut out).map_err(|e| Error::body(CODEC, e))?;
    if out.len() > limit {
        let text = format!("the inflated body is over the limit of {limit} bytes (body_limit, --body-limit)");
        return Err(Error::too_large(CODEC, text));
    }
    Ok(out)
}

/// Without the feature: an error that says so.
///
/// # Errors
/// Always.
#[cfg(not(feature = "gzip"))]
pub fn compress(_: &[u8], _: &mut Vec<u8>) -> Result<(), Error> {
    Err(missing())
}

/// Without the feature: an error that says so.
///
/// # Errors
/// Always.
#[cfg(not(feature = "gzip"))]
pub fn inflate(_: &[u8], _: usize) -> Result<Vec<u8>, Error> {
    Err(missing())
}

#[cfg(not(feature = "gzip"))]
fn missing() -> Error {
    Error::unsupported("gzip", "this program was built without the feature `gzip` of trunkline")
}

#[cfg(all(test, feature = "gzip"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn compressed(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(body, &mut out).unwrap();
        out
    }

    /// Bytes that do not compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..length).map(|_| random.u8(..)).collect()
    }

    #[test]
    fn a_body_comes_back() {
        for body in [&b""[..], b"x", &noise(200_000), &[7; 60_000]] {
            assert_eq!(inflate(&compressed(body), 1 << 20).unwrap(), body);
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let body = noise(100_000);
        let small = compressed(&body);
        assert_eq!(inflate(&small, 100_000).unwrap(), body);
        let error = inflate(&small, 99_999).unwrap_err();
        assert!(error.is_too_large());
        let text = "gzip: the inflated body is over the limit of 99999 bytes (body_limit, --body-limit)";
        assert_eq!(error.to_string(), text);
    }

    /// E4: easymicro and rpcx inflate whatever comes.
    #[test]
    fn e4_a_bomb_stops_at_the_limit() {
        let bomb = compressed(&vec![0; 8 << 20]);
        assert!(bomb.len() < 10_000);
        let error = inflate(&bomb, 4 << 20).unwrap_err();
        assert!(error.is_too_large(), "{error}");
        assert_eq!(inflate(&bomb, 8 << 20).unwrap().len(), 8 << 20);
    }

    #[test]
    fn members_add_up_and_other_bytes_do_not() {
        let mut two = compressed(b"one ");
        two.extend(compressed(b"two"));
        assert_eq!(inflate(&two, 100).unwrap(), b"one two");
        two.extend(b"garbage");
        assert!(inflate(&two, 100).unwrap_err().is_body());
    }

    #[test]
    fn what_is_broken_is_refused() {
        let whole = compressed(&noise(5_000));
        for cut in 1..whole.len() {
            assert!(inflate(&whole[..cut], 1 << 20).unwrap_err().is_body(), "cut at {cut}");
        }
        let mut wrong = whole;
        let last = wrong.len() - 5;
        wrong[last] ^= 1;
        assert!(inflate(&wrong, 1 << 20).unwrap_err().is_body());
        assert!(inflate(b"hello", 100).unwrap_err().is_body());
    }
}
