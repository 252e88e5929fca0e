//! The `klamm` binary: everything is in the library beside it, so that tests can start brokers too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A frame's memory is taken on one thread and freed on another. The system's allocator then gives pages back and asks for them anew with each
/// large frame, which costs a third of what a produced byte costs in all.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    server::run(std::env::args_os(), std::env::vars_os())
}
