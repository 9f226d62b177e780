//! What stands behind the question mark of a request: few names, plain values.
//!
//! Always holds: a name that the path does not take, or that is given twice, is refused with those that it takes.
//! Never: percent-encoding; no value here needs it.

use super::Refusal;
use axum::http::Uri;

/// The values of these names, in their order; of a name without `=` it is empty.
pub(super) fn query<'a, const N: usize>(
    uri: &'a Uri,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Refusal> {
    let mut values = [None; N];
    for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let Some(at) = names.iter().position(|known| *known == name) else {
            let takes = if N == 0 { "nothing".to_owned() } else { names.join(" and ") };
            return Err(Refusal::bad(format!("{} takes {takes} behind the ?, and not {name:?}", uri.path())));
        };
        if values[at].replace(value).is_some() {
            return Err(Refusal::bad(format!("{name} is given twice; give it once")));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_question_mark_is_known_or_refused() {
        #[rustfmt::skip]
        let table: &[(&str, Option<[Option<&str>; 2]>)] = &[
            ("/x",               Some([None, None])),
            ("/x?",              Some([None, None])),
            ("/x?a",             Some([Some(""), None])),
            ("/x?b=2&a=1",       Some([Some("1"), Some("2")])),
            ("/x?a=1=2&",        Some([Some("1=2"), None])),
            ("/x?c",             None),
            ("/x?a=1&a=2",       None),
        ];
        for (uri, want) in table {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(query(&uri, ["a", "b"]).ok(), *want, "case: {uri}");
        }
    }
}
