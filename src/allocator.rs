//! The memory that the allocator of the program keeps for later use.

// The function below is a part of this crate.
use mimalloc as _;

/// Returns free memory to the operating system at once, for work that takes much memory for a short time and is rare.
/// The allocator returns it only when the thread that has freed it allocates again, and that thread may be idle for long.
///
/// In a program with another allocator, there is nothing to return.
pub(crate) fn release_free_memory() {
    #[expect(unsafe_code, reason = "the allocator has no other interface")]
    // Safety: the function may be called at any time on any thread. It changes no memory in use.
    unsafe {
        mi_collect(true);
    }
}

#[expect(unsafe_code, reason = "the crate of the allocator does not declare it")]
unsafe extern "C" {
    /// Frees what the calling thread has cached. `force` also returns all free pages to the operating system.
    fn mi_collect(force: bool);
}
