//! What a person sees when the server is up.

use crate::base::limits::{BUDGET_BYTES_DEFAULT, SOCKET_BUFFER_BYTES};
use crate::net::Endpoint;
use std::io::Write;

/// Prints where the server is, how to try it, and what it may use at most.
pub(super) fn print(addresses: &[Endpoint], shards: u16, connections: u32) {
    let [frames, lines] = addresses else { return };
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason not to serve.
    let _ = writeln!(
        out,
        "\
tidegate {version}
  frames   {frames}   route 0 ack, 1 echo, 2 discard, 3 flip
  lines    {lines}   route 0 ack
  shards   {shards} event loops
  memory   {budget} MiB for buffers; up to {connections} connections, {idle} B each when idle;
           the kernel adds at most {kernel} KiB for a connection with both queues full
try it     {try_it}
stop       Ctrl-C drains; a second one aborts",
        version = env!("CARGO_PKG_VERSION"),
        budget = BUDGET_BYTES_DEFAULT >> 20,
        idle = crate::turn::IDLE_BYTES,
        // The kernel books twice what it is asked for, in each direction (socket(7)).
        kernel = (4 * SOCKET_BUFFER_BYTES) >> 10,
        try_it = try_it(lines),
    );
    let _ = out.flush();
}

/// A line of shell that asks the server something.
fn try_it(lines: &Endpoint) -> String {
    match lines {
        Endpoint::Ip(address) => format!(
            "bash -c 'exec 3<>/dev/tcp/{}/{}; printf \"hello\\n\" >&3; head -1 <&3'",
            address.ip(),
            address.port()
        ),
        Endpoint::Unix(path) => format!("printf 'hello\\n' | nc -NU {}", path.display()),
    }
}
