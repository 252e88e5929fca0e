//! Record batches from a stranger: parsed, checked, decompressed and walked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| record_batch::fuzz_batch(data));
