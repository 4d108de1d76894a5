//! Ports of a machine as sites in a browser: who is let in, what reaches the service, and what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::header::{COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use futures_util::{SinkExt as _, StreamExt as _};
use perennial_tests::client::Client;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::cluster_rig::Cluster;
use crate::rig::{Device, PATIENCE, Stand};

/// What somebody develops.
struct Service {
    port: u16,
    /// Lets a stream say its next word.
    on: Arc<Notify>,
}

/// Says which headers it was asked with, and gives cookies of every kind.
async fn head(headers: HeaderMap) -> Response {
    let all: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut response = axum::Json(json!(all)).into_response();
    for cookie in [
        "mine=1; Path=/; HttpOnly",
        "wide=2; Domain=localhost; Path=/",
        "__Host-perennial-preview=taken; Secure; Path=/",
    ] {
        response
            .headers_mut()
            .append(SET_COOKIE, cookie.parse().expect("a header"));
    }
    response
}

async fn upload(body: Bytes) -> String {
    format!("{} {:x}", body.len(), Sha256::digest(&body))
}

async fn socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

impl Service {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let on = Arc::new(Notify::new());
        let next = Arc::clone(&on);
        let words = async move || {
            let words = futures_util::stream::unfold((0_u32, Arc::clone(&next)), async |(at, next)| {
                if at > 0 {
                    next.notified().await;
                }
                let word = Bytes::from(format!("data: {at}\n\n"));
                Some((Ok::<_, std::io::Error>(word), (at + 1, next)))
            });
            ([("content-type", "text/event-stream")], Body::from_stream(words))
        };
        let there = format!("http://localhost:{port}/head?again");
        let app = Router::new()
            .route("/", get(async || "home"))
            .route("/head", any(head))
            .route("/words", get(words))
            .route("/socket", any(socket))
            .route("/away", get(async move || (StatusCode::FOUND, [(LOCATION, there)])))
            .route("/upload", post(upload))
            .layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { port, on })
    }
}

/// A browser, as far as a site sees one.
struct Browser {
    http: reqwest::Client,
    origin: String,
    address: SocketAddr,
    cookie: Option<String>,
}

impl Browser {
    /// At a site, through the server at `address`.
    fn at(origin: &str, address: SocketAddr) -> Result<Self> {
        let name = origin.strip_prefix("http://").context("http")?;
        let name = name.split(':').next().context("a name")?;
        let http = reqwest::Client::builder()
            .resolve(name, address)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            origin: format!("http://{name}:{}", address.port()),
            address,
            cookie: None,
        })
    }

    fn request(&self, method: &str, path: &str) -> Result<reqwest::RequestBuilder> {
        let request = self.http.request(method.parse()?, format!("{}{path}", self.origin));
        Ok(match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        })
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        Ok(self.request("GET", path)?.timeout(PATIENCE).send().await?)
    }

    /// Opens an address; whether it was let in.
    async fn open(&mut self, url: &str) -> Result<bool> {
        let path = url.find("/.perennial").map(|at| &url[at..]).context("an opening")?;
        let answer = self.get(path).await?;
        let set = answer.headers().get(SET_COOKIE).map(|cookie| cookie.to_str());
        if let Some(cookie) = set.transpose()? {
            for part in [
                "__Host-perennial-preview=",
                "Secure",
                "HttpOnly",
                "SameSite=Lax",
                "Path=/",
            ] {
                ensure!(cookie.contains(part), "{cookie}");
            }
            ensure!(!cookie.contains("Domain"), "{cookie}");
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        Ok(answer.status() == StatusCode::SEE_OTHER && answer.headers()[LOCATION] == "/")
    }
}

async fn preview(client: &Client, device: &Device, port: u16) -> Result<Value> {
    let path = format!("/v1/executors/{}/previews", device.id);
    client.post(&path, &json!({"port": port})).await?.ok()
}

/// A browser that was let in, and the address it opened.
async fn inside(client: &Client, device: &Device, port: u16, at: SocketAddr) -> Result<(Browser, String)> {
    let made = preview(client, device, port).await?;
    let (origin, url) = (made["origin"].as_str(), made["url"].as_str());
    let (origin, url) = origin.zip(url).context("an address")?;
    ensure!(url.starts_with(origin), "{made}");
    let mut browser = Browser::at(origin, at)?;
    ensure!(browser.open(url).await?, "{made}");
    Ok((browser, url.to_owned()))
}

fn address_of(url: &str) -> Result<SocketAddr> {
    Ok(url.strip_prefix("http://").context("http")?.parse()?)
}

#[tokio::test]
async fn only_who_opened_it_sees_a_preview() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let (service, other) = (Service::start().await?, Service::start().await?);
    let at = address_of(&stand.url)?;
    let (mut browser, url) = inside(stand.client(), &device, service.port, at).await?;
    ensure!(browser.get("/").await?.text().await? == "home", "not home");
    // Opened again by the same browser it leads there; for another one it is used up.
    ensure!(browser.open(&url).await?, "refused to who is inside");
    let mut stranger = Browser::at(&browser.origin, at)?;
    ensure!(!stranger.open(&url).await?, "let in twice");
    ensure!(stranger.get("/").await?.status() == 401, "seen by a stranger");
    let key = stranger.request("GET", "/")?.header("x-api-key", stand.client().key());
    ensure!(key.send().await?.status() == 401, "opened by a key");
    // Its cookie is for this port.
    let made = preview(stand.client(), &device, other.port).await?;
    let mut next = Browser::at(made["origin"].as_str().context("an origin")?, at)?;
    next.cookie.clone_from(&browser.cookie);
    ensure!(next.get("/").await?.status() == 401, "another port's cookie was taken");
    let swapped = made["url"].as_str().context("an address")?.to_owned();
    ensure!(!stranger.open(&swapped).await?, "a ticket of another port was taken");
    // Pages of other sites ask in vain, and find nothing of the server's own there.
    for (name, value) in [
        ("origin", made["origin"].as_str().context("an origin")?),
        ("origin", "null"),
        ("sec-fetch-site", "same-site"),
    ] {
        let foreign = browser.request("POST", "/upload")?.header(name, value).send().await?;
        ensure!(foreign.status() == 403, "{name}: {value}");
    }
    ensure!(
        browser.get("/v1/sessions").await?.status() == 404,
        "the server's own route"
    );
    // Nobody listens; the machine is away; the machine is gone.
    let (nobody, _) = inside(stand.client(), &device, 1, at).await?;
    let answer = nobody.get("/").await?;
    ensure!(answer.status() == 404, "{answer:?}");
    ensure!(answer.text().await?.contains("port 1"), "does not say which");
    drop(device.process);
    stand.until(&device.id, "offline").await?;
    ensure!(
        browser.get("/").await?.status() == 409,
        "a machine that is away answers"
    );
    let path = format!("/v1/executors/{}", device.id);
    stand
        .client()
        .send(stand.client().request("DELETE", &path))
        .await?
        .ok()?;
    let forgotten = async {
        while browser.get("/").await?.status() != 401 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, forgotten).await?
}

#[tokio::test]
async fn a_service_sees_nothing_of_ours() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let service = Service::start().await?;
    let (mut browser, _) = inside(stand.client(), &device, service.port, address_of(&stand.url)?).await?;
    let ours = browser.cookie.clone().context("a cookie")?;
    browser.cookie = Some(format!("a=1; {ours}; __Host-perennial-7340=login; b=2"));
    let key = stand.client().key().to_owned();
    let request = browser
        .request("POST", "/head?x=1")?
        .header("origin", &browser.origin)
        .header("referer", format!("{}/page", browser.origin))
        .header("x-api-key", &key)
        .header("authorization", format!("Bearer {key}"))
        .header("x-forwarded-host", "elsewhere.example");
    let answer = request.send().await?;
    let set: Vec<_> = answer.headers().get_all(SET_COOKIE).iter().cloned().collect();
    ensure!(set == ["mine=1; Path=/; HttpOnly", "wide=2; Path=/"], "{set:?}");
    let seen: Vec<(String, String)> = answer.json().await?;
    let of = |name: &str| -> Vec<&str> {
        let named = seen.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    let here = format!("localhost:{}", service.port);
    ensure!(of("host") == [here.as_str()], "{seen:?}");
    ensure!(of("origin") == [format!("http://{here}")], "{seen:?}");
    ensure!(of("referer") == [format!("http://{here}/page")], "{seen:?}");
    ensure!(of("cookie") == ["a=1; b=2"], "{seen:?}");
    let secret = ours.split('=').nth(1).context("a value")?;
    for (name, value) in &seen {
        ensure!(!value.contains(&key) && !value.contains(secret), "{name}: {value}");
        ensure!(!name.starts_with("x-forwarded"), "{name}: {value}");
    }
    let away = browser.get("/away").await?;
    ensure!(
        away.status() == 302 && away.headers()[LOCATION] == "/head?again",
        "{away:?}"
    );
    Ok(())
}

#[tokio::test]
async fn everything_goes_through_as_it_comes() -> Result<()> {
    let stand = Stand::start().await?;
    let device = stand.device("laptop", None).await?;
    let service = Service::start().await?;
    let (browser, _) = inside(stand.client(), &device, service.port, address_of(&stand.url)?).await?;
    // 50 MB.
    let bytes: Vec<u8> = (0..50_000_000_usize).map(|at| (at % 251) as u8).collect();
    let expected = format!("{} {:x}", bytes.len(), Sha256::digest(&bytes));
    let sent = browser
        .request("POST", "/upload")?
        .body(bytes)
        .timeout(PATIENCE * 3)
        .send()
        .await?;
    ensure!(sent.text().await? == expected, "the upload arrived otherwise");
    // Words arrive when they are said, also after longer than a request may wait to begin.
    let words = browser.request("GET", "/words")?.send().await?;
    ensure!(words.headers()["content-type"] == "text/event-stream", "{words:?}");
    let mut words = words.bytes_stream();
    let silence = match std::env::var_os("PERENNIAL_TORTURE") {
        Some(_) => Duration::from_secs(300),
        None => Duration::from_secs(12),
    };
    for at in 0..20_u32 {
        if at == 19 {
            tokio::time::sleep(silence).await;
        }
        if at > 0 {
            service.on.notify_one();
        }
        let word = timeout(PATIENCE, words.next()).await?.context("the stream ended")??;
        ensure!(word == format!("data: {at}\n\n"), "{word:?}");
    }
    drop(words);
    socket_echoes(&browser).await
}

async fn socket_echoes(browser: &Browser) -> Result<()> {
    let url = format!("{}/socket", browser.origin.replacen("http", "ws", 1));
    let mut request = url.as_str().into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("cookie", browser.cookie.as_deref().context("a cookie")?.parse()?);
    headers.insert("origin", browser.origin.parse()?);
    let (mut socket, _) = tokio_tungstenite::client_async(request, TcpStream::connect(browser.address).await?).await?;
    for length in [0, 5, 70_000, 1_000_000] {
        let said = tungstenite::Message::text("x".repeat(length));
        socket.send(said.clone()).await?;
        let heard = timeout(PATIENCE, socket.next()).await?.context("closed")??;
        ensure!(heard == said, "{length} bytes");
    }
    socket.close(None).await?;
    // One of another site's page is none.
    let mut request = url.as_str().into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("cookie", browser.cookie.as_deref().context("a cookie")?.parse()?);
    headers.insert("origin", "http://evil.example".parse()?);
    let foreign = tokio_tungstenite::client_async(request, TcpStream::connect(browser.address).await?).await;
    ensure!(
        matches!(&foreign, Err(tungstenite::Error::Http(answer)) if answer.status() == 403),
        "{foreign:?}"
    );
    Ok(())
}

/// Whichever node the machine dialled and the address was made at.
#[tokio::test]
async fn every_process_shows_it() -> Result<()> {
    let Some(cluster) = Cluster::start(2, 0, false).await? else {
        return Ok(());
    };
    let device = cluster.device("laptop").await?;
    let service = Service::start().await?;
    for (made, opened) in [(0, 1), (1, 0)] {
        let at = address_of(&format!("http://{}", cluster.address(opened)))?;
        let (browser, _) = inside(cluster.client(made), &device, service.port, at).await?;
        ensure!(browser.get("/").await?.text().await? == "home", "{}", cluster.logs());
        socket_echoes(&browser).await?;
    }
    Ok(())
}
