//! The fuzzer. One binary has all targets. `HEADWATER_FUZZ` names the one to run, and scripts/fuzz sets it.

#![no_main]

use std::sync::LazyLock;

mod targets;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("HEADWATER_FUZZ").unwrap_or_default();
    let found = targets::ALL.iter().find(|target| target.name == name);
    let names = targets::ALL.map(|target| target.name).join(" ");
    found.unwrap_or_else(|| panic!("HEADWATER_FUZZ: expected one of {names}, got {name:?}")).run
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));
