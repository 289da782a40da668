//! What clients and servers of files say to each other: our own messages, and those of the Go examples.

use serde::{Deserialize, Serialize};

use crate::{Bytes, Code, Result, Status};

/// The Go examples' paths.
pub(crate) const GO_DOWNLOAD: &str = "/download_file";
pub(crate) const GO_UPLOAD: &str = "/upload_file";
/// Ours. Three segments, so that on IIP they are plain paths and no method of a service.
pub(crate) const STAT: &str = "/trunkline/file/stat";
pub(crate) const READ: &str = "/trunkline/file/read";
pub(crate) const HASHES: &str = "/trunkline/file/hashes";
pub(crate) const BEGIN: &str = "/trunkline/file/begin";
pub(crate) const WRITE: &str = "/trunkline/file/write";
pub(crate) const COMMIT: &str = "/trunkline/file/commit";
pub(crate) const ABORT: &str = "/trunkline/file/abort";

/// The largest body of a request, in bytes; IIP carries no larger one in a frame.
pub(crate) const LARGEST: usize = 16 << 20;
/// The longest JSON before the bytes, in bytes.
const LONGEST_HEAD: usize = 16 << 10;
/// How many bytes of a file the Go server sends in one answer.
pub(crate) const GO_PIECE: usize = 10 * 1024 - 4;

/// What is asked in our own messages; each takes the fields that it needs.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ask {
    /// The file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Which upload of the file; empty where the file itself is meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) upload: String,
    /// The right to write, as `begin` gave it.
    pub(crate) lease: u64,
    /// How large the file is that is uploaded, in bytes.
    pub(crate) size: u64,
    /// The version of the file that is downloaded, as `stat` gave it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    /// The number of a block, from 0.
    pub(crate) block: u64,
    /// How many blocks.
    pub(crate) count: u64,
    /// The hash of the whole, in hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hash: String,
}

/// What is answered.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    /// How it went.
    pub(crate) outcome: Outcome,
    /// How large the file, or what there is of the upload, is in bytes.
    pub(crate) size: u64,
    /// The version of the file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    /// The right to write.
    pub(crate) lease: u64,
    /// The hash of the whole, in hexadecimal digits, as the server has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hash: String,
}

/// How it went. Failures that a client acts on are told here and not as a status, since some wires carry only
/// the text of one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Well.
    #[default]
    Done,
    /// There is no such file.
    Missing,
    /// The file is not the one that it was.
    Changed,
    /// The server does not know the upload (any more): begin again, with what it has.
    Restart,
    /// Another client, or this one anew, has begun the same upload.
    Superseded,
    /// The hash of the whole is not that which the client says.
    Mismatch,
}

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, ..Self::default() }
    }
}

/// A 4-byte length of JSON and the JSON, with room for so many bytes behind it. The Go examples' uploads have the
/// same form.
pub(crate) fn framed(head: &impl Serialize, room: usize) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(head).map_err(|error| Status::new(Code::Internal, error.to_string()))?;
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(json.len().saturating_add(room).saturating_add(4));
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&json);
    Ok(body)
}

/// Reads what [`framed`] wrote; the bytes behind the JSON are a slice of the body.
pub(crate) fn unframed<'a, H: Deserialize<'a>>(body: &'a Bytes) -> Result<(H, Bytes)> {
    let invalid = |why: String| Status::new(Code::InvalidInput, format!("invalid request, {why}"));
    if body.len() <= 4 {
        return Err(invalid(format!("{} bytes are too few", body.len())));
    }
    let Some((length, rest)) = body.split_first_chunk::<4>() else { return Err(invalid("too short".into())) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > LONGEST_HEAD {
        return Err(invalid(format!("{length} bytes of JSON are over the limit of {LONGEST_HEAD}")));
    }
    let Some((json, bytes)) = rest.split_at_checked(length) else {
        return Err(invalid(format!("{length} bytes of JSON are said, {} came", rest.len())));
    };
    let head = serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
    Ok((head, body.slice_ref(bytes)))
}

/// The Go client asks for a piece of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct GoDownload {
    pub(crate) task_id: i64,
    pub(crate) file_path: String,
    pub(crate) download_start_pos: i64,
}

/// The Go client sends a piece of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct GoUpload {
    pub(crate) task_id: i64,
    pub(crate) file_path: String,
    pub(crate) upload_start_pos: i64,
    pub(crate) completed: bool,
}

/// The Go server took a piece.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct GoUploaded {
    pub(crate) task_id: i64,
    pub(crate) done_bytes: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let asked = Ask { name: "a".into(), lease: u64::MAX, block: 7, ..Ask::default() };
        let mut body = framed(&asked, 3).unwrap();
        body.extend_from_slice(b"abc");
        let body = Bytes::from(body);
        let (read, bytes) = unframed::<Ask>(&body).unwrap();
        assert_eq!((read.name.as_str(), read.lease, read.block, &bytes[..]), ("a", u64::MAX, 7, &b"abc"[..]));
    }

    #[test]
    fn the_go_examples_json_is_theirs_to_the_byte() {
        let asked = GoDownload { task_id: 1, file_path: "data.bin".into(), download_start_pos: 10_236 };
        let json = serde_json::to_string(&asked).unwrap();
        assert_eq!(json, r#"{"TaskId":1,"FilePath":"data.bin","DownloadStartPos":10236}"#);
        let sent = GoUpload { task_id: 1, file_path: "data.bin".into(), ..GoUpload::default() };
        let json = serde_json::to_string(&sent).unwrap();
        assert_eq!(json, r#"{"TaskId":1,"FilePath":"data.bin","UploadStartPos":0,"Completed":false}"#);
    }
}
