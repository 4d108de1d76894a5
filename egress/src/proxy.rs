//! An HTTP proxy for one sandbox: `CONNECT` for what is encrypted, and requests with a whole address for what is not. What it lets
//! through is decided by name before anything is resolved, and by address before anything is connected to.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::guard::{Allowed, Guard, Refused};
use crate::limits::{CONNECT_TIME, HEAD_BYTES, HEAD_TIME, HEADERS, IDLE_TIME};
use crate::target::{Target, parse};

/// What a request to the proxy asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    target: Target,
    /// What the server there is told first; nothing where a tunnel was asked for.
    onward: Option<Vec<u8>>,
    /// Bytes of the head.
    length: usize,
}

/// Serves one connection to its end.
///
/// # Errors
/// When it breaks.
pub async fn serve<S>(mut inside: S, guard: &Guard, allowed: &Allowed) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(read) = timeout(HEAD_TIME, head(&mut inside)).await else {
        return refuse(&mut inside, 408, "the request did not come in time").await;
    };
    let (asked, rest) = match read? {
        Ok(asked) => asked,
        Err(refused) => return refuse(&mut inside, 400, &refused.to_string()).await,
    };
    let host = asked.target.host().to_owned();
    let addresses = match guard.vet(&asked.target, allowed).await {
        Ok(addresses) => addresses,
        Err(refused) => {
            tracing::info!(egress.host = host, %refused, "a sandbox was refused a way out");
            return refuse(&mut inside, 403, &refused.to_string()).await;
        }
    };
    let connected = timeout(CONNECT_TIME, TcpStream::connect(addresses.as_slice())).await;
    let mut outside = match connected {
        Ok(Ok(outside)) => outside,
        Ok(Err(error)) => return refuse(&mut inside, 502, &format!("{host}: {error}")).await,
        Err(_) => return refuse(&mut inside, 504, &format!("{host} does not answer")).await,
    };
    tracing::debug!(egress.host = host, "a sandbox goes out");
    match asked.onward {
        None => inside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
        Some(head) => outside.write_all(&head).await?,
    }
    outside.write_all(&rest).await?;
    between(inside, outside).await
}

/// Until both sides have said all, or nobody says anything for long.
async fn between<A, B>(one: A, other: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Arc::new(std::sync::Mutex::new(Instant::now()));
    let ((from_one, to_one), (from_other, to_other)) = (tokio::io::split(one), tokio::io::split(other));
    let copying = async {
        let (there, back) = tokio::join!(pump(from_one, to_other, &moved), pump(from_other, to_one, &moved));
        there.and(back)
    };
    tokio::pin!(copying);
    loop {
        let last = *moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tokio::select! {
            ended = &mut copying => return ended,
            () = tokio::time::sleep_until(last + IDLE_TIME) => {
                let now = *moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if now == last {
                    return Ok(());
                }
            }
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &std::sync::Mutex<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        *moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }
}

type Read = Result<(Asked, Vec<u8>), Refused>;

/// The head of a request, and what came behind it already.
async fn head(inside: &mut (impl AsyncRead + Unpin)) -> io::Result<Read> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let mut piece = [0; 4096];
        let read = inside.read(&mut piece).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..read]);
        match understand(&bytes) {
            Ok(None) if bytes.len() >= HEAD_BYTES => return Ok(Err(Refused::Malformed)),
            Ok(None) => {}
            Ok(Some(asked)) => {
                let rest = bytes.split_off(asked.length);
                return Ok(Ok((asked, rest)));
            }
            Err(refused) => return Ok(Err(refused)),
        }
    }
}

/// None when there is more to come.
fn understand(bytes: &[u8]) -> Result<Option<Asked>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes).map_err(|_| Refused::Malformed)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let (Some(method), Some(path)) = (request.method, request.path) else {
        return Err(Refused::Malformed);
    };
    if method == "CONNECT" {
        let target = Target::of_authority(path)?;
        let onward = None;
        return Ok(Some(Asked { target, onward, length }));
    }
    let url = parse(path)?;
    if url.scheme() != "http" {
        return Err(Refused::Scheme);
    }
    let target = Target::of(&url)?;
    // One request a connection, and to the host that was vetted, whatever else the head says.
    let place = url
        .query()
        .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let first = format!(
        "{method} {place} HTTP/1.{}\r\nhost: {}\r\nconnection: close\r\n",
        request.version.unwrap_or(1),
        authority(&url)
    );
    let mut onward = first.into_bytes();
    for header in request.headers.iter() {
        let hop = [
            "host",
            "connection",
            "keep-alive",
            "te",
            "upgrade",
            "proxy-connection",
            "proxy-authorization",
        ];
        if hop.iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        onward.extend_from_slice(header.name.as_bytes());
        onward.extend_from_slice(b": ");
        onward.extend_from_slice(header.value);
        onward.extend_from_slice(b"\r\n");
    }
    onward.extend_from_slice(b"\r\n");
    let onward = Some(onward);
    Ok(Some(Asked { target, onward, length }))
}

fn authority(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn refuse(inside: &mut (impl AsyncWrite + Unpin), status: u16, why: &str) -> io::Result<()> {
    let reason = match status {
        403 => "Forbidden",
        408 => "Request Timeout",
        502 => "Bad Gateway",
        504 => "Gateway Timeout",
        _ => "Bad Request",
    };
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\nx-perennial-egress: refused\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{why}\n",
        why.len() + 1
    );
    inside.write_all(answer.as_bytes()).await?;
    inside.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Option<(String, Option<String>)>, Refused> {
        let told = understand(text.as_bytes())?;
        Ok(told.map(|asked| {
            let onward = asked.onward.map(|bytes| String::from_utf8(bytes).unwrap());
            (format!("{}:{}", asked.target.host(), asked.target.port), onward)
        }))
    }

    #[test]
    fn what_is_asked_for_is_what_is_vetted() {
        assert_eq!(
            asked("CONNECT example.com:443 HTTP/1.1\r\nhost: other\r\n\r\n"),
            Ok(Some(("example.com:443".into(), None)))
        );
        assert_eq!(asked("CONNECT example.com:443 HTTP/1.1\r\n"), Ok(None));
        let (target, onward) = asked(
            "GET http://a.test/x?y=1 HTTP/1.1\r\nHost: metadata\r\nProxy-Authorization: z\r\nAccept: */*\r\n\r\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!(target, "a.test:80");
        assert_eq!(
            onward.unwrap(),
            "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nAccept: */*\r\n\r\n"
        );
        for wrong in [
            "GET /x HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET https://a/ HTTP/1.1\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\n\r\n",
            "CONNECT a HTTP/1.1\r\n\r\n",
            "CONNECT a@b:443 HTTP/1.1\r\n\r\n",
            "GET http://a@b/ HTTP/1.1\r\n\r\n",
            "\0\0\0\0",
        ] {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn who_may_not_go_out_is_told_why() {
        let guard = Guard::new(Arc::new(crate::SystemLookup));
        for (request, status) in [
            ("CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n", "403"),
            ("CONNECT localhost:22 HTTP/1.1\r\n\r\n", "403"),
            ("GET http://[::1]:80/ HTTP/1.1\r\n\r\n", "403"),
            ("nonsense\r\n\r\n", "400"),
        ] {
            let (mut near, far) = tokio::io::duplex(4096);
            near.write_all(request.as_bytes()).await.unwrap();
            serve(far, &guard, &Allowed::All).await.unwrap();
            let mut told = String::new();
            near.read_to_string(&mut told).await.unwrap();
            assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {told}");
        }
    }
}
