//! Who may ask the admin port for what, and that every answer ends.
//!
//! A port on loopback can be reached by every page in a browser on this host: by a name that its owner lets point here,
//! or by a form that is sent blindly. So the name that is asked for must be this port's, a page's request must come from
//! the port itself, and what changes something wants a token that no browser adds by itself.
//!
//! Always holds: no answer but a refusal leaves before all of that was checked, in this one place; an answer that takes
//! too long or panics costs its asker an error, and nobody else anything. Never: a token in a log, a session, a cookie.

use super::api::{COSTLY, Context, PATHS, PROFILE, Refusal, profile_is_off};
use crate::base::limits::PROFILE_ANSWER_WITHIN;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::future::poll_fn;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// What all answers say to browsers: guess no type, keep nothing, load and run nothing, be in nobody's frame.
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// What the guard knows.
#[derive(Default)]
pub(super) struct Guard {
    /// Without one nothing can be changed.
    pub(super) token: Option<String>,
    /// Names that the port is asked by, beside addresses and `localhost`; in lower case.
    pub(super) hosts: Vec<String>,
}

/// Not the token.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_token = self.token.is_some();
        f.debug_struct("Guard").field("has_token", &has_token).field("hosts", &self.hosts).finish()
    }
}

/// The only way to an answer.
pub(super) async fn answer(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let terms = context.settings.now();
    let is_profile = matched.as_deref() == Some(PROFILE);
    // What is switched off is not there, whoever asks.
    let is_off = is_profile && !terms.profile;
    let allow = matched.as_deref().filter(|_| !is_off).map(|path| allow(&context, path));
    let within = if is_profile { PROFILE_ANSWER_WITHIN } else { context.bounds.answer_within };
    let mut answer = match terms.guard.admit(&request, allow) {
        Ok(()) if is_off => profile_is_off().into_response(),
        Ok(()) => ended(within, next.run(request)).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in SECURITY {
        // A page that needs scripts says so itself.
        answer.headers_mut().entry(name).or_insert(value);
    }
    answer
}

/// The methods of a path that is routed; none if nobody wrote them down.
fn allow(context: &Context, path: &str) -> &'static str {
    let written = PATHS.iter().find(|known| known.path == path).map(|known| known.allow);
    let own = || context.own.iter().any(|own| own.path == path).then_some("GET, HEAD");
    written.or_else(own).unwrap_or_default()
}

/// An answer, in time and without a panic.
async fn ended(within: Duration, answer: impl Future<Output = Response>) -> Response {
    let mut answer = pin!(answer);
    let caught = poll_fn(|task| {
        catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(task)))
            .map_or(Poll::Ready(None), |polled| polled.map(Some))
    });
    match tokio::time::timeout(within, caught).await {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            tracing::error!("an answer of the admin port panicked; that is a bug");
            let text = "the answer panicked, which is a bug; the server's log says more";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
        Err(_) => {
            let text = format!("no whole request and answer within {} ms", within.as_millis());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, text).into_response()
        }
    }
}

impl Guard {
    /// Whether there is a token to ask by.
    pub(super) const fn takes_changes(&self) -> bool {
        self.token.is_some()
    }

    /// Whether this may be answered; `allow` are the methods of its path, if there is such a path.
    fn admit<B>(&self, request: &axum::http::Request<B>, allow: Option<&'static str>) -> Result<(), Refusal> {
        let headers = request.headers();
        let host = self.check_host(headers, request.uri(), request.version())?;
        check_origin(headers, host)?;
        let Some(allow) = allow else { return Ok(()) };
        let method = request.method();
        if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
            let text = format!("{method} is not for {}; it takes {allow}", request.uri().path());
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text).with(ALLOW, allow));
        }
        match *method {
            Method::GET if allow == COSTLY => self.check_token(headers, "profile"),
            Method::GET | Method::HEAD => Ok(()),
            _ => self.check_token(headers, "change"),
        }
    }

    /// The name that the port was asked by, if it is one of its own: a page that lets its name point here can't use it.
    fn check_host<'a>(
        &self,
        headers: &'a HeaderMap,
        uri: &'a Uri,
        version: Version,
    ) -> Result<Option<&'a str>, Refusal> {
        if let Some(authority) = uri.authority() {
            self.check_name(authority.as_str())?;
        }
        let mut given = headers.get_all(HOST).iter();
        let host = match (given.next(), given.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            // Only browsers are to be kept out, and they have been saying it for decades.
            (None, _) if version < Version::HTTP_11 => return Ok(None),
            (None, _) => return Err(Refusal::bad("the request has no Host; HTTP/1.1 wants one")),
            (Some(_), Some(_)) => return Err(Refusal::bad("the request has more than one Host; send one")),
        };
        self.check_name(host)?;
        Ok(Some(host))
    }

    fn check_name(&self, host: &str) -> Result<(), Refusal> {
        let name = without_port(host);
        let is_address = name.parse::<Ipv4Addr>().is_ok()
            || name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'))
                .is_some_and(|name| name.parse::<Ipv6Addr>().is_ok());
        let is_known = |name: &str| name == "localhost" || self.hosts.iter().any(|host| host == name);
        if is_address || is_known(&name.trim_end_matches('.').to_ascii_lowercase()) {
            return Ok(());
        }
        let text = format!(
            "{name:?} is no name of this port; ask by an IP address or localhost, or add the name to hosts in [admin]"
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, text))
    }

    /// Whether the token is there, for a `what`.
    fn check_token(&self, headers: &HeaderMap, what: &str) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            let does = if what == "change" { "takes no changes" } else { "makes no profiles" };
            let text = format!("this server {does}: it has no token; set token or token_file in [admin]");
            return Err(Refusal::new(StatusCode::FORBIDDEN, text));
        };
        let refused =
            |text: &str| Refusal::new(StatusCode::UNAUTHORIZED, text).with(WWW_AUTHENTICATE, "Bearer");
        let Some(given) = headers.get(AUTHORIZATION) else {
            return Err(refused(&format!("a {what} wants the token: send Authorization: Bearer TOKEN")));
        };
        let given = given.to_str().ok().and_then(|text| text.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, given)) = given else {
            return Err(refused("Authorization must be Bearer and the token"));
        };
        if bool::from(given.trim().as_bytes().ct_eq(token.as_bytes())) {
            Ok(())
        } else {
            Err(refused("that is not the token; it is the one of token or token_file in [admin]"))
        }
    }
}

/// A request that a page sent must come from a page of this port.
fn check_origin(headers: &HeaderMap, host: Option<&str>) -> Result<(), Refusal> {
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let of = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        of.is_some() && of == host
    };
    match headers.get_all(ORIGIN).iter().find(|origin| !is_own(origin)) {
        None => Ok(()),
        Some(origin) => {
            let text = format!(
                "{origin:?} may not ask: pages of other origins are refused; use a tool such as curl"
            );
            Err(Refusal::new(StatusCode::FORBIDDEN, text))
        }
    }
}

/// What stands before the port, the brackets of an IPv6 address included.
fn without_port(host: &str) -> &str {
    let end = host.rfind(']').map_or(0, |end| end + 1);
    match host[end..].rsplit_once(':') {
        Some((before, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            &host[..end + before.len()]
        }
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    const TOKEN: &str = "0123456789abcdef";

    /// What a request is answered: 200 if it is let through.
    fn judged(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri("/log");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        guard.admit(&request, Some("GET, HEAD, POST")).map_or_else(|refusal| refusal.status(), |()| 200)
    }

    #[test]
    fn names_are_those_of_this_port() {
        let guard = Guard { token: None, hosts: vec!["metrics.example".to_owned()] };
        #[rustfmt::skip]
        let table = [
            ("127.0.0.1",            200), ("127.0.0.1:7413",       200), ("10.1.2.3:80",          200),
            ("[::1]",                200), ("[::1]:7413",           200), ("localhost",            200),
            ("LocalHost:7413",       200), ("localhost.:7413",      200), ("metrics.example:9",    200),
            ("METRICS.example",      200), ("evil.example",         403), ("evil.example:7413",    403),
            ("metrics.example.evil", 403), ("localhost.evil",       403), ("127.0.0.1.evil.com",   403),
            ("[::1].evil.com:80",    403), ("localhost:80@evil",    403), ("evil@127.0.0.1",       403),
            ("",                     403), (":80",                  403), ("::1",                  403),
        ];
        for (host, want) in table {
            assert_eq!(judged(&guard, "GET", &[("Host", host)]), want, "case: {host}");
        }
        assert_eq!(judged(&guard, "GET", &[]), 400, "no Host");
        assert_eq!(judged(&guard, "GET", &[("Host", "localhost"), ("Host", "localhost")]), 400, "two");
    }

    #[test]
    fn pages_of_others_are_refused() {
        let guard = Guard::default();
        #[rustfmt::skip]
        let table = [
            ("http://127.0.0.1:7413",  200), ("https://127.0.0.1:7413", 200), ("http://127.0.0.1",       403),
            ("http://127.0.0.1:8080",  403), ("http://evil.example",    403), ("null",                   403),
            ("127.0.0.1:7413",         403), ("",                       403), ("ftp://127.0.0.1:7413",   403),
        ];
        for (origin, want) in table {
            let got = judged(&guard, "GET", &[("Host", "127.0.0.1:7413"), ("Origin", origin)]);
            assert_eq!(got, want, "case: {origin}");
        }
    }

    #[test]
    fn a_change_wants_the_token() {
        let (none, some) = (Guard::default(), Guard { token: Some(TOKEN.to_owned()), hosts: Vec::new() });
        let host = ("Host", "localhost");
        let right = format!("Bearer {TOKEN}");
        #[rustfmt::skip]
        let table: &[(&str, &Guard, &str, Option<&str>, u16)] = &[
            ("no token is set",   &none, "POST",   Some(&right),                    403),
            ("none is given",     &some, "POST",   None,                            401),
            ("the right one",     &some, "POST",   Some(&right),                    200),
            ("in lower case",     &some, "POST",   Some("bearer 0123456789abcdef"), 200),
            ("a wrong one",       &some, "POST",   Some("Bearer 0123456789abcdeF"), 401),
            ("a part of it",      &some, "POST",   Some("Bearer 0123456789abcde"),  401),
            ("more than it",      &some, "POST",   Some("Bearer 0123456789abcdef0"), 401),
            ("nothing",           &some, "POST",   Some("Bearer "),                 401),
            ("no scheme",         &some, "POST",   Some(TOKEN),                     401),
            ("another scheme",    &some, "POST",   Some("Basic 0123456789abcdef"),  401),
            ("reading needs none", &some, "GET",   None,                            200),
            ("nor does a head",   &some, "HEAD",   None,                            200),
            ("no such method",    &some, "DELETE", Some(&right),                    405),
        ];
        for (name, guard, method, given, want) in table {
            let mut headers = vec![host];
            headers.extend(given.map(|given| ("Authorization", given)));
            assert_eq!(judged(guard, method, &headers), *want, "case: {name}");
        }
        assert!(!format!("{some:?}").contains(TOKEN), "the token is shown to nobody");
    }
}
