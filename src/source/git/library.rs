//! The process-wide options of libgit2.

use std::sync::Once;

use git2::ConfigLevel;

/// The size of libgit2's cache of small objects, for all repositories together.
const CACHE_BYTES_MAX: isize = 32 * 1024 * 1024;

/// Makes libgit2 read only the configuration of the opened repository. The configuration of a user must neither steer nor
/// stop the server. Called before any repository is opened.
pub fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        let levels =
            [ConfigLevel::System, ConfigLevel::Global, ConfigLevel::XDG, ConfigLevel::ProgramData];
        for level in levels {
            #[expect(
                unsafe_code,
                reason = "libgit2 has process-wide options and git2 marks them all unsafe"
            )]
            // SAFETY: the option must not be set while another thread uses libgit2. `Once` admits one thread, and
            // every caller that opens a repository waits here first.
            let set = unsafe { git2::opts::set_search_path(level, "") };
            set.expect("libgit2 takes an empty search path");
        }
        // The owner of a repository is not checked. The operator configured every path that this process opens, and cannot
        // list safe directories, since no configuration of git is read.
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: as above.
        let set = unsafe { git2::opts::set_verify_owner_validation(false) };
        set.expect("libgit2 takes a switch");
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: as above.
        let set = unsafe { git2::opts::set_cache_max_size(CACHE_BYTES_MAX) };
        set.expect("libgit2 takes a cache size");
    });
}
