//! The machine that the generator runs on, as a report names it.

use super::report::Host;
use std::num::NonZero;

/// This machine.
pub fn host() -> Host {
    let told = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    // Linux alone has the file, and not on every architecture a name in it.
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|cpuinfo| model(&cpuinfo));
    Host {
        system: format!("{} {}", text(told.sysname()), text(told.release())),
        processor: model.unwrap_or_else(|| text(told.machine())),
        // By affinity, and by the control group's share.
        processors: u32::try_from(std::thread::available_parallelism().map_or(1, NonZero::get))
            .unwrap_or(u32::MAX),
    }
}

/// What the first processor is called.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = line.trim_start().strip_prefix(':')?.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name() {
        let host = host();
        assert!(host.system.contains(' ') && !host.system.starts_with(' '), "{host:?}");
        assert!(!host.processor.is_empty() && host.processors >= 1, "{host:?}");
    }

    #[test]
    fn the_model_is_the_first_ones() {
        let x86 =
            "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD  EPYC\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(model(x86).as_deref(), Some("AMD EPYC"));
        assert_eq!(model("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
        assert_eq!(model("model name\t:\n"), None);
    }
}
