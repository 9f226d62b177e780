//! `GET /debug/pprof/profile`: which functions take the time, looked at for as long as is asked for.
//!
//! Always holds: one profile at a time, also while its names are still looked for; whoever goes away ends the one that he
//! asked for; a port that ends is given what there is so far. Making one has a thread of its own. Never: a profile
//! without the token, or where nobody has switched them on; the guard sees to both.

use super::query::query;
use super::refusal::TEXT;
use super::{Asker, Context, Refusal};
use crate::base::limits::{PROFILE_HZ, PROFILE_HZ_RANGE, PROFILE_S, PROFILE_S_RANGE};
use crate::control::admin::give_way;
use crate::control::profile::{self, CONTENT_SECURITY, NoProfile, Plan, Profile, Told};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use std::fmt::Display;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::str::FromStr;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::info;

/// Where they are made; the guard knows it by its name.
pub(in crate::control) const PROFILE: &str = "/debug/pprof/profile";

pub(super) fn paths() -> Router<Arc<Context>> {
    Router::new().route("/debug/pprof", get(index)).route(PROFILE, get(made))
}

/// What is said where nobody has switched them on.
pub(in crate::control) fn is_off() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "CPU profiles are off; set profile = true in [admin], and reload the configuration",
    )
}

/// Who is making a profile.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Profiles(Arc<Mutex<Option<(SocketAddr, Instant)>>>);

/// The right to make one; it ends with the thread that does.
struct Making(Profiles);

impl Profiles {
    fn begin(&self, asker: SocketAddr, lasts: Duration) -> Result<Making, Refusal> {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((other, until)) = *now {
            let words = being_made(other, until);
            let text = format!("{words}; one at a time can be, so ask again then");
            return Err(Refusal::new(StatusCode::CONFLICT, text));
        }
        *now = Some((asker, Instant::now() + lasts));
        Ok(Making(self.clone()))
    }

    /// The one that is being made, in words.
    fn shown(&self) -> Option<String> {
        let now = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.map(|(asker, until)| being_made(asker, until))
    }
}

fn being_made(asker: SocketAddr, until: Instant) -> String {
    let left = until.saturating_duration_since(Instant::now()).as_secs() + 1;
    format!("a profile is being made for {asker}, for {left} s more at most")
}

impl Drop for Making {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Pprof,
    Flamegraph,
    Collapsed,
}

fn wanted(uri: &Uri) -> Result<(Plan, Shown), Refusal> {
    let [seconds, hz, format] = query(uri, ["seconds", "hz", "format"])?;
    let seconds = number("seconds", seconds, PROFILE_S, PROFILE_S_RANGE.0..=PROFILE_S_RANGE.1)?;
    let hz = number("hz", hz, PROFILE_HZ, PROFILE_HZ_RANGE.0..=PROFILE_HZ_RANGE.1)?;
    let shown = match format {
        None | Some("pprof") => Shown::Pprof,
        Some("flamegraph") => Shown::Flamegraph,
        Some("collapsed") => Shown::Collapsed,
        Some(other) => {
            return Err(Refusal::bad(format!(
                "format is {other:?}, but must be pprof, flamegraph or collapsed"
            )));
        }
    };
    Ok((Plan { lasts: Duration::from_secs(seconds), hz }, shown))
}

fn number<T: FromStr + PartialOrd + Display>(
    name: &str,
    given: Option<&str>,
    default: T,
    range: RangeInclusive<T>,
) -> Result<T, Refusal> {
    let Some(text) = given else { return Ok(default) };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(Refusal::bad(format!(
            "{name} is {text:?}, but must be a number from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

async fn made(
    State(context): State<Arc<Context>>,
    Extension(Asker(asker)): Extension<Asker>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let (plan, shown) = wanted(&uri)?;
    let making = context.profiles.begin(asker, plan.lasts)?;
    // Dropped with this answer, when who asked goes away: then the thread gives up.
    let (tell, told) = sync_channel(1);
    let (give, given) = oneshot::channel();
    let thread = std::thread::Builder::new().name("tidegate-pprof".to_owned());
    let begun = thread.spawn(move || {
        give_way();
        let profile = profile::sample(plan, &told);
        let answer = profile.map(|profile| profile.map(|profile| answer(&profile, shown, asker)));
        drop(making);
        let _ = give.send(answer);
    });
    begun.map_err(|error| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("cannot start a thread for it: {error}"))
    })?;
    info!(%asker, seconds = plan.lasts.as_secs(), hz = plan.hz, "making a CPU profile, as asked on the admin port");
    let mut end = context.end.subscribe();
    let (mut ending, mut given) = (pin!(end.wait_for(|is_ending| *is_ending)), pin!(given));
    let mut is_told = false;
    let given = poll_fn(|task| {
        if !is_told && ending.as_mut().poll(task).is_ready() {
            is_told = true;
            let _ = tell.try_send(Told::Enough);
        }
        given.as_mut().poll(task)
    });
    match given.await {
        Ok(Ok(Some(answer))) => Ok(answer),
        Ok(Err(why)) => Err(refused(&why)),
        // Nobody went away: it would be this answer.
        Ok(Ok(None)) | Err(_) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the thread that made the profile died, which is a bug; the server's log says more",
        )),
    }
}

fn refused(why: &NoProfile) -> Refusal {
    let status = match why {
        NoProfile::Unsupported => StatusCode::NOT_IMPLEMENTED,
        NoProfile::Taken => StatusCode::CONFLICT,
        NoProfile::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, why.to_string())
}

fn answer(profile: &Profile, shown: Shown, asker: SocketAddr) -> Response {
    let samples: u64 = profile.stacks.iter().map(|stack| stack.samples).sum();
    let (stacks, lasted_s) = (profile.stacks.len(), profile.lasted.as_secs_f64());
    info!(%asker, samples, stacks, lasted_s, "made a CPU profile");
    match shown {
        Shown::Pprof => {
            let file = "attachment; filename=\"tidegate.pb.gz\"";
            let head = [(CONTENT_TYPE, "application/octet-stream"), (CONTENT_DISPOSITION, file)];
            (head, profile::proto(profile)).into_response()
        }
        Shown::Flamegraph => {
            let mut answer = ([(CONTENT_TYPE, "image/svg+xml")], profile::flame(profile)).into_response();
            let security = HeaderValue::from_static(CONTENT_SECURITY);
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, security);
            answer
        }
        Shown::Collapsed => ([(CONTENT_TYPE, TEXT)], profile::folded(profile)).into_response(),
    }
}

async fn index(State(context): State<Arc<Context>>, uri: Uri) -> Result<Response, Refusal> {
    let [] = query(&uri, [])?;
    let state = if context.settings.now().profile { "on" } else { "off: set profile = true in [admin]" };
    let now = context.profiles.shown().map(|words| words + "\n").unwrap_or_default();
    let text = format!(
        "CPU profiles: which functions take the time. They are {state}\n\
         {now}\
         \n\
         \x20 {PROFILE}?seconds={PROFILE_S}    for go tool pprof and speedscope\n\
         \x20   &format=flamegraph                  a picture, to be opened in a browser\n\
         \x20   &format=collapsed                   lines of text: stack and samples\n\
         \x20   &hz={PROFILE_HZ}                              samples in a second of processor time\n\
         \n\
         \x20 curl -H \"Authorization: Bearer $TOKEN\" -o cpu.pb.gz 'http://HOST:PORT{PROFILE}?seconds=10'\n\
         \x20 go tool pprof -http=: cpu.pb.gz\n"
    );
    Ok(([(CONTENT_TYPE, TEXT)], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_within_its_bounds() {
        let plan = |seconds, hz| Some(Plan { lasts: Duration::from_secs(seconds), hz });
        #[rustfmt::skip]
        let table = [
            ("/x",                         plan(30, 99), Some(Shown::Pprof)),
            ("/x?seconds=1&hz=10",         plan(1, 10),  Some(Shown::Pprof)),
            ("/x?seconds=60&hz=999",       plan(60, 999), Some(Shown::Pprof)),
            ("/x?format=flamegraph",       plan(30, 99), Some(Shown::Flamegraph)),
            ("/x?format=collapsed",        plan(30, 99), Some(Shown::Collapsed)),
            ("/x?format=pprof",            plan(30, 99), Some(Shown::Pprof)),
            ("/x?format=svg",              None, None),
            ("/x?seconds=0",               None, None),
            ("/x?seconds=61",              None, None),
            ("/x?seconds=-1",              None, None),
            ("/x?seconds=1.5",             None, None),
            ("/x?seconds=",                None, None),
            ("/x?hz=9",                    None, None),
            ("/x?hz=1000",                 None, None),
            ("/x?duration=3",              None, None),
        ];
        for (uri, want, shown) in table {
            let got = wanted(&uri.parse().unwrap()).ok();
            assert_eq!(got, want.zip(shown), "case: {uri}");
        }
    }

    #[test]
    fn one_at_a_time_and_the_second_is_told_by_whom() {
        let (profiles, first) = (Profiles::default(), SocketAddr::from(([192, 0, 2, 7], 4711)));
        let making =
            profiles.begin(first, Duration::from_secs(30)).unwrap_or_else(|_| panic!("nobody is there"));
        let refused = profiles.begin(first, Duration::from_secs(1)).err().expect("one is being made");
        assert_eq!(refused.status(), 409);
        assert!(format!("{refused:?}").contains("for 192.0.2.7:4711, for 30 s more"), "{refused:?}");
        drop(making);
        assert!(profiles.begin(first, Duration::from_secs(1)).is_ok());
    }
}
