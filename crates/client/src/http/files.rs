//! Files: uploaded as they are read, and read back as they come.

use super::{ANSWER_LIMIT, Http, HttpError, Query, segment};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};
use std::io;
use std::time::Duration;
use tidewire_proto::http::{FileList, FileRemoved, FileView};

/// How long an upload or a download may take: as long as the server allows.
const TRANSFER_LIMIT: Duration = Duration::from_hours(1);

/// Parts the fields of a form. A file that has this line in it, by a chance of one in 2^128, would be cut there.
const BOUNDARY: &str = "tidewire-6d2b9a4c1f7e48d0a35b86e17c04f9d2";

/// What is said of a file that is uploaded.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Its name; no quotes and no control characters get through.
    pub filename: String,
    /// Its type; `application/octet-stream` where that is not known.
    pub media: String,
    /// What it is for: `user_data` where messages are to name it.
    pub purpose: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// After how long it goes by itself.
    pub expires_after: Option<Duration>,
}

impl Http {
    /// Uploads a file whose bytes come from `content`.
    pub async fn upload_file(
        &self,
        file: &NewFile,
        content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<FileView, HttpError> {
        let (head, foot) = (head(file), format!("\r\n--{BOUNDARY}--\r\n"));
        let length = (head.len() + foot.len()) as u64 + file.bytes;
        let one = |text: String| stream::iter([io::Result::Ok(Bytes::from(text))]);
        let form = one(head).chain(content).chain(one(foot));
        let request = self
            .request(Method::POST, "/v1/files")
            .timeout(TRANSFER_LIMIT)
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"))
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(form));
        self.json(request).await
    }

    /// A page of files, newest first.
    pub async fn files(&self, limit: Option<u32>, after: Option<&str>) -> Result<FileList, HttpError> {
        let mut query = Query::default();
        query.add("limit", limit.map(|limit| limit.to_string()).as_deref());
        query.add("after", after);
        self.json(self.request(Method::GET, &format!("/v1/files{}", query.0))).await
    }

    /// What is known of a file.
    pub async fn file(&self, id: &str) -> Result<FileView, HttpError> {
        self.json(self.request(Method::GET, &format!("/v1/files/{}", segment(id)))).await
    }

    /// A file's bytes, as they come. An error in the middle means that they are not whole.
    pub async fn file_content(
        &self,
        id: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, HttpError>> + use<>, HttpError> {
        let request = self.request(Method::GET, &format!("/v1/files/{}/content", segment(id))).timeout(TRANSFER_LIMIT);
        let response = self.accepted(self.send(request).await?).await?;
        let http = self.clone();
        Ok(response.bytes_stream().map(move |piece| piece.map_err(|source| http.broken(source))))
    }

    /// A file's text. With `wait`, the server waits so long for it to be there.
    pub async fn file_text(&self, id: &str, wait: Option<Duration>) -> Result<String, HttpError> {
        let mut query = Query::default();
        query.add("wait_ms", wait.map(|wait| wait.as_millis().to_string()).as_deref());
        let request = self.request(Method::GET, &format!("/v1/files/{}/text{}", segment(id), query.0));
        self.plain(request.timeout(ANSWER_LIMIT + wait.unwrap_or_default())).await
    }

    /// Deletes a file.
    pub async fn delete_file(&self, id: &str) -> Result<FileRemoved, HttpError> {
        self.json(self.request(Method::DELETE, &format!("/v1/files/{}", segment(id)))).await
    }
}

/// The form up to the file's first byte.
fn head(file: &NewFile) -> String {
    let field = |name: &str, value: &str| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let mut head = field("purpose", &file.purpose);
    if let Some(wait) = file.expires_after {
        head.push_str(&field("expires_after[anchor]", "created_at"));
        head.push_str(&field("expires_after[seconds]", &wait.as_secs().to_string()));
    }
    let kept = |letter: &char| !letter.is_control() && *letter != '"';
    let plain = |text: &str| text.chars().filter(kept).collect::<String>();
    let (filename, media) = (plain(&file.filename), plain(&file.media));
    let disposition = format!("Content-Disposition: form-data; name=\"file\"; filename=\"{filename}\"");
    [head, format!("--{BOUNDARY}\r\n{disposition}\r\nContent-Type: {media}\r\n\r\n")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_name_adds_no_header() {
        let file = NewFile {
            filename: "a\"\r\nX-Evil: 1\r\n.pdf".to_owned(),
            media: "application/pdf".to_owned(),
            purpose: "user_data".to_owned(),
            bytes: 0,
            expires_after: Some(Duration::from_hours(1)),
        };
        let head = head(&file);
        assert!(head.contains("filename=\"aX-Evil: 1.pdf\"\r\nContent-Type: application/pdf\r\n\r\n"), "{head}");
        assert!(head.contains("name=\"expires_after[seconds]\"\r\n\r\n3600\r\n"), "{head}");
    }
}
