//! The memory that a parsed policy holds, as the allocator of this program counts it.

#![expect(unsafe_code, reason = "an allocator is an unsafe implementation")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::sync::atomic::{AtomicIsize, Ordering};

use headwater_access::{Policy, Sha256};

/// The most bytes for a service with a token, and its rule.
const PRINCIPAL_BYTES_MAX: isize = 1_024;

/// Counts the bytes that are in use.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static BYTES_IN_USE: AtomicIsize = AtomicIsize::new(0);

// Safety: the allocator of the system does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES_IN_USE.fetch_add(bytes(layout), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        BYTES_IN_USE.fetch_sub(bytes(layout), Ordering::Relaxed);
        unsafe { System.dealloc(start, layout) }
    }
}

/// The size of an allocation. Allocators round it up.
fn bytes(layout: Layout) -> isize {
    isize::try_from(layout.size().next_multiple_of(16)).unwrap_or(isize::MAX)
}

/// A policy of services, each with a token and a rule of its own.
fn text(count: usize) -> String {
    let mut text = "version = 1\n".to_owned();
    for number in 0..count {
        let digest = Sha256::of(&number.to_le_bytes());
        let _ = write!(
            text,
            "[[principal]]\nname = \"service-{number}\"\nkind = \"service\"\n\
             tokens = [{{ sha256 = \"{digest}\" }}]\n\
             [[allow]]\nwho = [\"service-{number}\"]\nmay = [\"read\", \"open\"]\n\
             application = [\"{{principal}}\"]\nprofile = [\"*\"]\n"
        );
    }
    text
}

fn policy_bytes(count: usize) -> isize {
    let text = text(count);
    let before = BYTES_IN_USE.load(Ordering::Relaxed);
    let policy = Policy::parse("policy.toml", text.as_bytes()).expect("the text is a policy");
    let held = BYTES_IN_USE.load(Ordering::Relaxed) - before;
    drop(policy);
    held
}

#[test]
fn a_service_with_its_rule_takes_a_kilobyte() {
    let (few, many) = (1_000, 3_000);
    let each = (policy_bytes(many) - policy_bytes(few)) / 2_000;
    assert!(each < PRINCIPAL_BYTES_MAX, "{each} bytes");
}
