//! The path of the request before: mostly the next one has the same, and then it is not looked at again.

use super::frame::Head;
use super::path::{self, SYSTEM, is_control};
use crate::{Limits, WireError};

/// Longer paths are not kept.
const LONGEST: usize = 256;

/// A path that was read and found to be good.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// As it came, with its query and the zero byte behind it. Empty where there is none.
    uri: Vec<u8>,
    /// How long it is without its query.
    path: usize,
    /// How long the service's name in it is.
    service: usize,
}

impl Known {
    /// Reads what stands before the data of a request, as [`Head::decode`] does. Beside it the names, where the path is no
    /// system path and has no control byte, and they are known already.
    #[inline]
    pub(super) fn decode<'a>(
        &mut self,
        input: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<(Head<'a>, Option<Names<'a>>)>, WireError> {
        let at = self.uri.len();
        if at > 0
            && let Some((_, rest)) = input.split_first()
            && rest.starts_with(&self.uri)
        {
            let (uri, _) = rest.split_at(at.saturating_sub(1));
            let (path, _) = uri.split_at(self.path.min(uri.len()));
            let Some(head) = Head::decode_behind(input, uri, path, limits)? else { return Ok(None) };
            return Ok(Some((head, self.names(path))));
        }
        let Some(head) = Head::decode(input, limits)? else { return Ok(None) };
        self.keep(&head);
        Ok(Some((head, None)))
    }

    /// The path that is known and has no query, where the bytes behind a status begin with it; and what is behind its end.
    #[inline]
    pub(super) fn split<'a>(&self, input: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let at = self.path;
        if at == 0 || self.uri.len() != at.saturating_add(1) {
            return None;
        }
        let (path, rest) = input.split_at_checked(self.uri.len())?;
        (path == self.uri).then_some((path.get(..at)?, rest))
    }

    #[inline]
    pub(super) fn names<'a>(&self, path: &'a [u8]) -> Option<Names<'a>> {
        if self.service == 0 {
            return Some((&[], path));
        }
        let (service, method) = path.get(1..)?.split_at_checked(self.service)?;
        Some((service, method.get(1..)?))
    }

    fn keep(&mut self, head: &Head<'_>) {
        let plain = !head.uri.starts_with(SYSTEM) && !head.uri.iter().any(|byte| is_control(*byte));
        if plain && head.uri.len() < LONGEST {
            self.uri.clear();
            self.uri.extend_from_slice(head.uri);
            self.uri.push(0);
            (self.path, self.service) = (head.path.len(), path::names(head.path).0.len());
        }
    }
}

/// Service and method.
pub(super) type Names<'a> = (&'a [u8], &'a [u8]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iip::frame::write;

    #[test]
    fn what_is_known_is_read_as_what_is_not() {
        let limits = Limits::default();
        let mut known = Known::default();
        let paths: [&[u8]; 9] = [
            b"/A/b",
            b"/A/b",
            b"/A/bc",
            b"/A/b?c=d",
            b"/A/b?c=d",
            b"/sys/x",
            b"/echo",
            b"/echo",
            b"/A/b\x01",
        ];
        for path in paths.iter().chain(&paths) {
            let mut frame = Vec::new();
            write(1, &[path], 7, b"data", &mut frame);
            let whole = Head::decode(&frame, &limits).unwrap().unwrap();
            for cut in 0..frame.len() {
                let begun = known.decode(frame.get(..cut).unwrap(), &limits).unwrap();
                assert_eq!(begun.is_some(), cut >= whole.length, "{cut}");
            }
            let (head, names) = known.decode(&frame, &limits).unwrap().unwrap();
            assert_eq!((head.uri, head.path, head.channel), (whole.uri, whole.path, 7));
            assert_eq!((head.length, head.data, head.rest), (whole.length, 4, &b"data"[..]));
            assert!(names.is_none_or(|names| names == path::names(head.path)));
            let bad = path.starts_with(SYSTEM) || path.ends_with(&[1]);
            assert_eq!(known.decode(&frame, &limits).unwrap().unwrap().1.is_none(), bad);
        }
        let mut bad = Vec::new();
        write(1, &[b"/A/b"], 7, b"", &mut bad);
        assert!(known.decode(&bad, &limits).is_err());
    }
}
