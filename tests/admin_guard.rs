//! Who is let through to the admin port and who is not, by what a browser or a tool really sends.

#![cfg(feature = "admin")]

mod support;

use std::io::Write;
use support::admin::{BEARER, admin_of, admin_with, answer, ask, connect, get};
use support::serving::Serving;
use tidegate::control::Admin;

/// What every answer has, whatever it is.
const SECURITY: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    ("cross-origin-resource-policy", "same-origin"),
];

#[test]
fn each_refusal_says_what_to_do_and_changes_nothing() {
    let serving = Serving::embedded();
    let (at, _control) =
        admin_with(&serving, |admin| admin.hosts(["Metrics.example"]).expect("few enough names"));
    let own = format!("http://{at}");
    let wrong = ("Authorization", "Bearer 0123456789abcdef");
    /// Method, path, headers, status, words.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str);
    #[rustfmt::skip]
    let table: &[Case<'_>] = &[
        ("GET",    "/readyz", &[],                                               200, "ready"),
        ("GET",    "/readyz", &[("Host", "localhost")],                          200, "ready"),
        ("GET",    "/readyz", &[("Host", "metrics.EXAMPLE:80")],                 200, "ready"),
        ("GET",    "/readyz", &[("Origin", &own)],                               200, "ready"),
        ("GET",    "/readyz", &[("Host", "rebound.example:7413")],               403, "hosts in [admin]"),
        ("GET",    "/nowhere", &[("Host", "rebound.example:7413")],              403, "hosts in [admin]"),
        ("GET",    "/readyz", &[("Origin", "http://evil.example")],              403, "pages of other origins"),
        ("GET",    "/readyz", &[("Origin", "null")],                             403, "pages of other origins"),
        ("POST",   "/drain",  &[],                                               401, "send Authorization: Bearer TOKEN"),
        ("POST",   "/drain",  &[wrong],                                          401, "that is not the token"),
        ("POST",   "/drain",  &[("Authorization", "Basic Zm9vOmJhcg==")],        401, "must be Bearer"),
        ("POST",   "/drain",  &[BEARER, ("Origin", "http://evil.example")],      403, "pages of other origins"),
        ("POST",   "/drain",  &[BEARER, ("Host", "rebound.example")],            403, "hosts in [admin]"),
        ("DELETE", "/drain",  &[BEARER],                                         405, "it takes POST"),
        ("OPTIONS", "/drain", &[("Origin", "http://evil.example")],              403, "pages of other origins"),
        ("POST",   "/nowhere", &[BEARER],                                        404, "there is no such path"),
    ];
    for (method, path, headers, status, words) in table {
        let answer = ask(at, method, path, headers, "");
        assert_eq!(answer.status, *status, "case: {method} {path} {headers:?}: {answer:?}");
        assert!(answer.body.contains(words), "case: {method} {path} {headers:?}: {answer:?}");
        if !(*status == 200 || *status == 404) {
            assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
        }
        for (name, value) in SECURITY {
            assert_eq!(answer.header(name), Some(value), "case: {method} {path} {headers:?}");
        }
        let challenge = (*status == 401).then_some("Bearer");
        assert_eq!(answer.header("www-authenticate"), challenge);
    }
    assert!(!serving.handle.is_draining());
    assert_eq!(ask(at, "POST", "/drain", &[BEARER, ("Origin", &own)], "").status, 202);
    serving.join();
}

#[test]
fn without_a_token_nothing_can_be_changed() {
    let serving = Serving::embedded();
    let admin = Admin::bind("127.0.0.1:0").expect("a free port");
    let at = admin.local_addr().expect("it is bound");
    let _control = admin.start(serving.handle.clone()).expect("a thread");
    for headers in [&[][..], &[BEARER], &[("Authorization", "Bearer ")]] {
        let refused = ask(at, "POST", "/drain", headers, "");
        assert_eq!(refused.status, 403);
        assert_eq!(
            refused.body,
            "this server takes no changes: it has no token; set token or token_file in [admin]\n"
        );
    }
    assert!(get(at, "/").body.ends_with("POST is refused: this server has no token\n"));
    assert!(!serving.handle.is_draining());
}

/// Requests as no tool makes them.
#[test]
fn odd_requests_are_refused() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    #[rustfmt::skip]
    let table = [
        ("GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n",                                               400),
        ("GET /readyz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",         400),
        ("GET /readyz HTTP/1.0\r\n\r\n",                                                                    200),
        ("GET http://evil.example/readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",         403),
        ("GET http://localhost/readyz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",         403),
        ("GET http://localhost/readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",            200),
        ("GET /../readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",                         404),
        ("GET //readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",                           404),
        ("GET /%72eadyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",                          404),
        ("POST /drain HTTP/1.0\r\nContent-Length: 0\r\n\r\n",                                               401),
        ("nonsense\r\n\r\n",                                                                                400),
    ];
    for (request, status) in table {
        let mut stream = connect(at);
        stream.write_all(request.as_bytes()).expect("it is taken");
        assert_eq!(answer(&mut stream).status, status, "case: {request:?}");
    }
    assert!(!serving.handle.is_draining());
}
