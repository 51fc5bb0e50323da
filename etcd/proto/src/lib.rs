//! Stands in for tonic-prost-build in the build script of etcd-client: the code that it would generate with protoc is in
//! `generated/`. That it belongs to the protocol of this very etcd-client is checked; `generate/` makes it anew.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// What the text of the protocol adds up to that `generated/` was made of.
const PROTOCOL: u64 = 0xbb1f_77e1_c9cf_6b2c;

/// The settings of a run: as in the original.
pub fn configure() -> Builder {
    Builder { with_server: false }
}

/// As much of the original as etcd-client uses.
pub struct Builder {
    with_server: bool,
}

impl Builder {
    /// Whether the code of a server is wanted. There is none here.
    #[must_use]
    pub fn build_server(self, enable: bool) -> Self {
        Self { with_server: enable }
    }

    /// Puts the code for these files where the build script's package looks for it.
    ///
    /// # Errors
    /// When they are not the files that the code was made of, or something cannot be read or written.
    pub fn compile_protos<P: AsRef<Path>>(self, protos: &[P], includes: &[P]) -> Result<()> {
        if self.with_server {
            return Err(Error::other("there is no code for a server in etcd/proto/generated"));
        }
        let found = sum(protos, includes)?;
        if found != PROTOCOL {
            return Err(Error::other(format!(
                "etcd/proto/generated belongs to another protocol than that of this etcd-client ({found:#x}): \
                 etcd/proto/generate/src/main.rs says how it is made anew"
            )));
        }
        let out = std::env::var_os("OUT_DIR")
            .map(PathBuf::from)
            .ok_or_else(|| Error::other("OUT_DIR is not set: this is for build scripts"))?;
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("generated"))? {
            let entry = entry?;
            std::fs::write(out.join(entry.file_name()), std::fs::read(entry.path())?)?;
        }
        Ok(())
    }
}

/// FNV-1a over the text of all files: nobody is kept from forging it, only from forgetting it.
fn sum<P: AsRef<Path>>(protos: &[P], includes: &[P]) -> Result<u64> {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for proto in protos {
        let places = includes.iter().map(|include| include.as_ref().join(proto));
        let place = places
            .chain([proto.as_ref().to_owned()])
            .find(|place| place.exists())
            .ok_or_else(|| Error::other("a file of the protocol is missing"))?;
        for byte in std::fs::read(place)? {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(sum)
}
