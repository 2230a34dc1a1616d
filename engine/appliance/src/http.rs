//! As much of HTTP/1.1 as a witness and static files need: one request a connection, sans I/O.

/// Bytes of a request's line and headers, at most.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header fields, at most.
const FIELDS_MAX: usize = 64;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// The path, as it was sent.
    pub path: &'a str,
    /// What follows the headers.
    pub body: &'a [u8],
}

/// What was received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// There is more to come.
    Part,
    /// The whole request.
    Whole(Request<'a>),
    /// No request that is understood: the status to answer with.
    Bad(u16),
}

/// The request in `bytes`, whose body has at most `body_max` bytes and says its length.
#[must_use]
pub fn request(bytes: &[u8], body_max: usize) -> Received<'_> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Received::Part,
        Ok(httparse::Status::Partial) => return Received::Bad(431),
        Err(_) => return Received::Bad(400),
    };
    let (Some(method), Some(path)) = (head.method, head.path) else { return Received::Bad(400) };
    let mut body_bytes = 0;
    for field in head.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Received::Bad(411);
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
            let Some(value) = value else { return Received::Bad(400) };
            body_bytes = value;
        }
    }
    if body_bytes > body_max {
        return Received::Bad(413);
    }
    match bytes.get(length..length + body_bytes) {
        Some(body) => Received::Whole(Request { method, path, body }),
        None => Received::Part,
    }
}

/// An answer, after which the connection is closed.
#[must_use]
pub fn answer(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_last_byte_and_not_before() {
        let text = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\n\r\nold 0";
        for end in 0..text.len() {
            assert_eq!(request(&text[..end], 100), Received::Part, "{end} bytes");
        }
        let whole = Request { method: "POST", path: "/add-checkpoint", body: b"old 0" };
        assert_eq!(request(text, 100), Received::Whole(whole));
        assert_eq!(request(text, 4), Received::Bad(413));
        let get = Request { method: "GET", path: "/checkpoint", body: b"" };
        assert_eq!(request(b"GET /checkpoint HTTP/1.1\r\n\r\n", 0), Received::Whole(get));
        for (text, status) in [
            ("\0\0\0", 400),
            ("GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        ] {
            assert_eq!(request(text.as_bytes(), 100), Received::Bad(status), "{text:?}");
        }
        let endless = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; HEAD_BYTES_MAX]].concat();
        assert_eq!(request(&endless, 0), Received::Bad(431));
    }
}
