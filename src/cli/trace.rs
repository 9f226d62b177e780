//! Traces as the configuration wants them: where they are sent, and with which headers.
//!
//! Always holds: no header is in a line that is printed or logged. Never: a collector asked before the server runs.

use crate::base::limits::EXPORT_HEADERS_BYTES_MAX;
use crate::config::Config;
use crate::control::Traces;
use anyhow::anyhow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// What the last traces may take to leave when the server has ended.
pub(super) const LAST_TRACES: Duration = Duration::from_secs(2);

/// Where traces go, if they go anywhere.
///
/// # Errors
///
/// A file of headers that can't be read, or is wrong: one line, without a byte of it.
pub(super) fn of(config: &Config) -> anyhow::Result<Option<Traces>> {
    let Some(export) = &config.traces else { return Ok(None) };
    let traces = Traces::to_collector(export.collector.clone()).service_name(export.service_name.clone())?;
    let Some(path) = &export.headers_file else { return Ok(Some(traces)) };
    let name = path.display();
    let text = read(path).map_err(|error| {
        anyhow!(
            "the headers file {name} cannot be read: {error}; make it, or take headers_file out of [trace]"
        )
    })?;
    traces.headers(&text).map(Some).map_err(|error| anyhow!("the headers file {name}: {error}"))
}

/// One byte more than there may be, so that a longer file is refused and not cut.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(EXPORT_HEADERS_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
