//! Sequences of requests against a broker in this process; see `sequences`.
#![no_main]

#[path = "../sequences/mod.rs"]
mod sequences;

use std::cell::RefCell;

use sequences::Harness;

thread_local! {
    // libFuzzer calls from one thread; a broker for each input would take most of the time.
    static HARNESS: RefCell<Harness> = RefCell::new(Harness::new());
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    HARNESS.with_borrow_mut(|harness| {
        // A replay shows each request as it goes, also when the broker panics.
        harness.verbose = std::env::var_os("FUZZ_VERBOSE").is_some();
        if let Err(finding) = harness.play(data) {
            panic!("{finding}");
        }
    });
});
