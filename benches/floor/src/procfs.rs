//! What Linux accounts to a process: CPU time, run-queue delay, memory.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;

/// CPU time and run-queue delay since a thread or process began. See Linux `Documentation/scheduler/sched-stats.rst`.
///
/// The kernel brings the figures of a running thread up to date at its tick, so a difference is exact to some 4 ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sched {
    /// Time on a CPU, ns.
    pub run_ns: u64,
    /// Time ready to run, but waiting for a CPU, ns.
    pub wait_ns: u64,
}

impl Sched {
    /// The sum over all threads of a process.
    pub fn of_process(pid: u32) -> io::Result<Sched> {
        let mut sum = Sched::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let one = Sched::parse(&fs::read_to_string(task?.path().join("schedstat"))?)?;
            sum.run_ns += one.run_ns;
            sum.wait_ns += one.wait_ns;
        }
        Ok(sum)
    }

    /// The calling thread.
    pub fn of_this_thread() -> io::Result<Sched> {
        Sched::parse(&fs::read_to_string("/proc/thread-self/schedstat")?)
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: Sched) -> Sched {
        Sched {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
        }
    }

    fn parse(text: &str) -> io::Result<Sched> {
        let mut fields = text.split_ascii_whitespace().map(str::parse);
        match (fields.next(), fields.next()) {
            (Some(Ok(run_ns)), Some(Ok(wait_ns))) => Ok(Sched { run_ns, wait_ns }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("schedstat: {text:?}"))),
        }
    }
}

/// Resident memory of a process, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All resident pages.
    pub rss: u64,
    /// Pages of its own that it has written to.
    pub private_dirty: u64,
    /// Pages that no file is behind.
    pub anonymous: u64,
}

impl Memory {
    /// Memory of a process now.
    pub fn of_process(pid: u32) -> io::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        Ok(Memory {
            rss: kib_line(&status, "VmRSS:")?,
            private_dirty: kib_line(&smaps, "Private_Dirty:")?,
            anonymous: kib_line(&smaps, "Anonymous:")?,
        })
    }
}

/// How many established connections to a port each epoll instance of a process watches, most first; those with none
/// are left out. It says how a server with several loops has dealt its connections, whatever it is written in.
pub fn conns_by_epoll(pid: u32, port: u16) -> io::Result<Vec<usize>> {
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/{pid}/net/{name}")));
    let conns: HashSet<String> = tables
        .iter()
        .flatten()
        .flat_map(|text| text.lines())
        .filter_map(|line| conn_of(line, port))
        .collect();
    let (mut sockets, mut epolls) = (HashSet::new(), Vec::new());
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let (fd, Ok(target)) =
            (entry.file_name().to_string_lossy().into_owned(), fs::read_link(entry.path()))
        else {
            continue; // closed in the meantime
        };
        match target.to_string_lossy().as_ref() {
            "anon_inode:[eventpoll]" => epolls.push(fd),
            socket if conns.contains(socket) => drop(sockets.insert(fd)),
            _ => {}
        }
    }
    let mut watched = HashSet::new(); // an instance with two descriptors counts once
    for epoll in epolls {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}"))?;
        watched.insert(
            watched_by(&text).filter(|fd| sockets.contains(*fd)).map(str::to_owned).collect::<BTreeSet<_>>(),
        );
    }
    let mut counts: Vec<_> = watched.iter().map(BTreeSet::len).filter(|count| *count > 0).collect();
    counts.sort_unstable_by(|one, other| other.cmp(one));
    Ok(counts)
}

/// What `/proc/PID/fd` calls an established connection to `port`, from a line of `/proc/PID/net/tcp`.
fn conn_of(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_established = *fields.get(3)? == "01";
    let inode = fields.get(9)?;
    (is_established && u16::from_str_radix(local_port, 16) == Ok(port)).then(|| format!("socket:[{inode}]"))
}

/// The descriptors that an epoll instance watches, from its `/proc/PID/fdinfo` entry.
fn watched_by(fdinfo: &str) -> impl Iterator<Item = &str> {
    fdinfo.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_ascii_whitespace().next())
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn kib_line(text: &str, name: &str) -> io::Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = value.and_then(|value| value.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse().ok());
    kib.map(|kib: u64| kib * 1024).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_established_connections_to_the_port_count() {
        let line = |port, state| {
            format!(
                "  4: 0100007F:{port} 0100007F:8A4C {state} 00000000:00000000 00:00000000 00000000     0        0 7788 1 0"
            )
        };
        assert_eq!(conn_of(&line("1CF3", "01"), 0x1CF3), Some("socket:[7788]".to_owned()));
        assert_eq!(conn_of(&line("1CF3", "0A"), 0x1CF3), None);
        assert_eq!(conn_of(&line("1CF4", "01"), 0x1CF3), None);
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(conn_of(head, 0x1CF3), None);
    }

    #[test]
    fn an_epoll_instance_is_counted_once() {
        let ours = std::process::id();
        let poll = mio::Poll::new().expect("epoll works");
        let twin = poll.registry().try_clone().expect("descriptors are left");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback works");
        let addr = listener.local_addr().expect("it is bound");
        let mut held = Vec::new();
        for token in 0..3 {
            let client = std::net::TcpStream::connect(addr).expect("it listens");
            let (accepted, _) = listener.accept().expect("it is connected");
            let mut accepted = mio::net::TcpStream::from_std(accepted);
            if token < 2 {
                twin.register(&mut accepted, mio::Token(token), mio::Interest::READABLE).expect("it is new");
            }
            held.push((client, accepted));
        }
        assert_eq!(conns_by_epoll(ours, addr.port()).expect("proc is mounted"), [2]);
    }
}
