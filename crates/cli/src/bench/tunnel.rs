//! `CONNECT` before a wire, as Go's `rpc.DialHTTP` has it: one line out, one head in, and HTTP is over.

/// The most bytes of an answer's head.
const HEAD: usize = 4 << 10;

/// What a client says first: bare line feeds and no headers, as Go's client has it.
pub(super) fn ask(path: &str) -> Vec<u8> {
    format!("CONNECT {path} HTTP/1.0\n\n").into_bytes()
}

/// How many bytes of the answer are its head; nothing where that is not all there.
///
/// # Errors
/// The server does not leave HTTP, and what it says.
pub(super) fn answered(bytes: &[u8]) -> Result<Option<usize>, String> {
    let bytes = bytes.get(..HEAD).unwrap_or(bytes);
    let ends = [&b"\n\n"[..], b"\n\r\n"].map(|end| {
        let at = bytes.windows(end.len()).position(|window| window == end);
        at.map(|at| at + end.len())
    });
    let Some(length) = ends.into_iter().flatten().min() else {
        return if bytes.len() < HEAD {
            Ok(None)
        } else {
            Err("the answer to CONNECT is too long".to_owned())
        };
    };
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    if line.starts_with(b"HTTP/1.") && line.get(8..12) == Some(b" 200") {
        return Ok(Some(length));
    }
    Err(format!("CONNECT: {}", line.get(..80).unwrap_or(line).escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_answer_ends_at_its_empty_line() {
        let answer = b"HTTP/1.0 200 Connected to Go RPC\n\nrest";
        assert_eq!(answered(answer), Ok(Some(34)));
        assert_eq!(answered(&answer[..33]), Ok(None));
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), Ok(Some(25)));
    }

    #[test]
    fn any_other_answer_is_an_error() {
        assert_eq!(
            answered(b"HTTP/1.0 404 Not Found\r\n\r\n"),
            Err("CONNECT: HTTP/1.0 404 Not Found".into())
        );
        assert!(answered(b"hello\n\n").is_err());
        assert!(answered(&[b'x'; HEAD]).is_err());
    }
}
