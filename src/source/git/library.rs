//! The switches that libgit2 has once per process.

use std::sync::Once;

use git2::ConfigLevel;

/// How much libgit2 may keep of small objects, all repositories together.
const CACHE_BYTES_MAX: isize = 32 * 1024 * 1024;

/// Makes libgit2 read the configuration of the repository it opens and no other: what stands in somebody's home must
/// neither steer the server nor stop it. Called before any repository is opened.
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
            // SAFETY: the option must not be set while another thread uses libgit2. `Once` lets one thread in, and
            // all that opens a repository waits for it here first.
            let set = unsafe { git2::opts::set_search_path(level, "") };
            set.expect("libgit2 takes an empty search path");
        }
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: as above.
        let set = unsafe { git2::opts::set_cache_max_size(CACHE_BYTES_MAX) };
        set.expect("libgit2 takes a cache size");
    });
}
