//! A git server on loopback: git's own CGI program behind a token.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;

/// What opens it.
pub const TOKEN: &str = "ghp_0123456789abcdefghij";

/// Serves what is in a folder, until it is dropped.
pub struct GitServer {
    /// The folder.
    pub root: tempfile::TempDir,
    /// Where it is.
    pub url: String,
    /// Credentials that were shown, as they came.
    pub shown: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

struct Shelf {
    root: PathBuf,
    shown: Arc<Mutex<Vec<String>>>,
}

impl GitServer {
    /// On a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> Result<Self> {
        let root = tempfile::tempdir()?;
        let shown = Arc::<Mutex<Vec<String>>>::default();
        let shelf = Arc::new(Shelf {
            root: root.path().to_owned(),
            shown: Arc::clone(&shown),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().fallback(serve).with_state(shelf);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            root,
            url,
            shown,
            serving,
        })
    }

    /// A repository with two commits on `main`, a branch `other` and a commit on no branch; answers the hashes of the first on
    /// `main` and of the last.
    ///
    /// # Errors
    /// When git does not do it.
    pub fn repository(&self, name: &str) -> Result<(String, String)> {
        let bare = self.root.path().join(format!("{name}.git"));
        let work = tempfile::tempdir()?;
        git(work.path(), &["init", "--quiet", "--initial-branch=main"])?;
        let commit = |file: &str, text: &str| -> Result<String> {
            std::fs::write(work.path().join(file), text)?;
            git(work.path(), &["add", "."])?;
            git(work.path(), &["commit", "--quiet", "-m", file])?;
            git(work.path(), &["rev-parse", "HEAD"])
        };
        let first = commit("first", "1\n")?;
        commit("second", "2\n")?;
        git(work.path(), &["checkout", "--quiet", "-b", "other"])?;
        commit("third", "3\n")?;
        git(work.path(), &["checkout", "--quiet", "--detach"])?;
        let hidden = commit("hidden", "4\n")?;
        git(work.path(), &["checkout", "--quiet", "main"])?;
        let (from, to) = (work.path().display().to_string(), bare.display().to_string());
        git(work.path(), &["clone", "--quiet", "--bare", &from, &to])?;
        git(
            &bare,
            &["fetch", "--quiet", &from, &format!("{hidden}:refs/hidden/one")],
        )?;
        git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"])?;
        git(&bare, &["config", "transfer.hideRefs", "refs/hidden"])?;
        Ok((first, hidden))
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What git says here, with nobody's configuration.
///
/// # Errors
/// When it fails.
pub fn git(dir: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@example.com",
            "-c",
            "safe.directory=*",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()?;
    ensure!(
        output.status.success(),
        "git {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

async fn serve(State(shelf): State<Arc<Shelf>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    // Elsewhere, on another port of this host.
    if let Some((port, rest)) = uri.path().strip_prefix("/to/").and_then(|path| path.split_once('/')) {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let there = format!("http://127.0.0.1:{port}/{rest}{query}");
        return (StatusCode::FOUND, [(header::LOCATION, there)]).into_response();
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let open = uri.path().starts_with("/open");
    let expected = format!("Basic {}", STANDARD.encode(format!("x-access-token:{TOKEN}")));
    if let Some(given) = given {
        shelf
            .shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(given.to_owned());
    }
    if !open && given != Some(expected.as_str()) {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")],
        )
            .into_response();
    }
    answer(&shelf, &method, &uri, &headers, &body)
        .await
        .unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())
}

async fn answer(shelf: &Shelf, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Response> {
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let encoding = text(header::CONTENT_ENCODING);
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shelf.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text(header::CONTENT_TYPE))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", encoding)
        .env(
            "GIT_PROTOCOL",
            headers
                .get("git-protocol")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default(),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    let body = body.to_vec();
    let writing = tokio::spawn(async move { input.write_all(&body).await });
    let output = child.wait_with_output().await?;
    let _ = writing.await;
    let end = output
        .stdout
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("headers")?;
    let head = String::from_utf8(output.stdout[..end].to_vec())?;
    let mut response = Response::builder();
    for line in head.lines() {
        let (name, value) = line.split_once(": ").context("a header")?;
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap_or_default()),
            name => response.header(name, value),
        };
    }
    Ok(response.body(output.stdout[end + 4..].to_vec().into())?)
}
