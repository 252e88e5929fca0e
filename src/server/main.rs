//! The `klamm` binary: everything is in the library beside it, so that tests can start brokers too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run(std::env::args_os(), std::env::vars_os())
}
