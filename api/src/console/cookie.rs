//! The cookie of a login. `__Host-` binds it to this host and to secure connections (browsers count loopback as one); cookies
//! know no ports, so two servers of one host have a name each.

use axum::http::header::{COOKIE, HOST};
use axum::http::{HeaderMap, HeaderValue};

use crate::accounts::Secret;
use crate::limits::CONSOLE_LOGIN;

fn name(headers: &HeaderMap) -> String {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    match host.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("__Host-perennial-{port}")
        }
        _ => "__Host-perennial".to_owned(),
    }
}

/// The login a request carries.
pub(super) fn read(headers: &HeaderMap) -> Option<Secret> {
    let name = name(headers);
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';'));
    let value = pairs.find_map(|pair| pair.trim().strip_prefix(&*name)?.strip_prefix('='))?;
    Secret::parse_login(value).ok()
}

/// Gives a browser its login; none takes it back.
pub(super) fn write(headers: &HeaderMap, login: Option<&Secret>) -> Option<HeaderValue> {
    let (value, seconds) = login.map_or(("", 0), |login| (login.expose(), CONSOLE_LOGIN.as_secs()));
    let name = name(headers);
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    HeaderValue::from_str(&text).ok()
}
