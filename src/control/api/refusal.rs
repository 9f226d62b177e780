//! How the admin port says no: a status, and one line that says what to do.

use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// An answer that is none.
#[derive(Debug)]
pub(in crate::control) struct Refusal {
    status: StatusCode,
    text: String,
    more: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    /// With a line for people, without its end.
    pub(in crate::control) fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into(), more: None }
    }

    /// 400: the request is wrong.
    pub(in crate::control) fn bad(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }

    /// With a header that this status wants.
    pub(in crate::control) fn with(mut self, name: HeaderName, value: &'static str) -> Refusal {
        self.more = Some((name, value));
        self
    }

    #[cfg(test)]
    pub(in crate::control) fn status(&self) -> u16 {
        self.status.as_u16()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = (self.status, [(CONTENT_TYPE, TEXT)], self.text + "\n").into_response();
        if let Some((name, value)) = self.more {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

/// Plain text, for people.
pub(in crate::control) const TEXT: &str = "text/plain; charset=utf-8";
