//! The binary. Everything is in the library, so that it can be tested and used there.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::run()
}
