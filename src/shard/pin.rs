//! Keeping a loop on one processor: what the system can do about it, which only Linux's kernel lets us here.

use std::io;

/// Binds the calling thread to one of the processors that this process may use: the `index`-th of them, counted round.
/// Gives its number.
///
/// # Errors
///
/// Whatever the system says.
#[cfg(all(feature = "pin", any(target_os = "linux", target_os = "android")))]
pub fn pin_thread(index: usize) -> io::Result<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None)?;
    let count = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).count();
    let mut usable = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let cpu = usable.nth(index % count.max(1)).ok_or_else(|| io::Error::other("no processor is usable"))?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only)?;
    Ok(cpu)
}

/// Can't bind a thread to a processor here.
///
/// # Errors
///
/// Always: the system has no call for it, or this crate was built without the feature `pin`.
#[cfg(not(all(feature = "pin", any(target_os = "linux", target_os = "android"))))]
pub fn pin_thread(_index: usize) -> io::Result<usize> {
    let why = if cfg!(feature = "pin") {
        "this system has no call for it"
    } else {
        "built without the feature `pin`"
    };
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

#[cfg(all(test, feature = "pin", target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_one_processor() {
        let count = std::thread::available_parallelism().unwrap().get();
        let pinned = |index| {
            let thread = std::thread::spawn(move || {
                let cpu = pin_thread(index).unwrap();
                (cpu, std::thread::available_parallelism().unwrap().get())
            });
            thread.join().unwrap()
        };
        assert_eq!(pinned(0).1, 1);
        assert_eq!(pinned(0), pinned(count), "they are counted round");
        if count > 1 {
            assert_ne!(pinned(0).0, pinned(1).0);
        }
    }
}
