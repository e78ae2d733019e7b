//! The entry of every fuzz target: libFuzzer's driver.
//!
//! libFuzzer has a `main` of its own, but numkong leaves in what is linked the small programs with which it probes the
//! compiler, and the linker finds one of theirs first: the fuzzer then ended at once, without a word.

use std::ffi::{c_char, c_int};

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        target: unsafe extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
    fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int;
}

#[unsafe(no_mangle)]
extern "C" fn main(mut argc: c_int, mut argv: *mut *mut c_char) -> c_int {
    // SAFETY: the arguments are the C runtime's own and outlive the driver, which is made to be called so.
    unsafe { LLVMFuzzerRunDriver(&raw mut argc, &raw mut argv, LLVMFuzzerTestOneInput) }
}
