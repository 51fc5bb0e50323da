//! A replacement for tonic-prost-build in the build script of etcd-client. It spares everyone who builds Headwater the
//! program `protoc`.
//!
//! tonic-prost-build would generate the code of etcd's protocol with `protoc`. This crate copies the generated code from
//! `generated/` instead, after it has verified that the code belongs to the protocol of the present etcd-client. After an
//! update of etcd-client, `generate/` generates the code again.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// The checksum of the protocol files from which `generated/` was generated.
const PROTOCOL: u64 = 0xbb1f_77e1_c9cf_6b2c;

/// Creates a builder, as in tonic-prost-build.
pub fn configure() -> Builder {
    Builder { with_server: false }
}

/// The part of tonic-prost-build's builder that etcd-client uses.
pub struct Builder {
    with_server: bool,
}

impl Builder {
    /// Sets whether to generate the code of a server, which is not available here.
    #[must_use]
    pub fn build_server(self, enable: bool) -> Self {
        Self { with_server: enable }
    }

    /// Copies the generated code to the output directory of the build script.
    ///
    /// # Errors
    /// When the protocol files differ from those of the generated code, or when a file cannot be read or written.
    pub fn compile_protos<P: AsRef<Path>>(self, protos: &[P], includes: &[P]) -> Result<()> {
        if self.with_server {
            return Err(Error::other("etcd/proto/generated contains no code for a server"));
        }
        let found = sum(protos, includes)?;
        if found != PROTOCOL {
            return Err(Error::other(format!(
                "etcd/proto/generated does not match the protocol of etcd-client (checksum {found:#x}, expected \
                 {PROTOCOL:#x}): generate it again as described in etcd/proto/generate/src/main.rs"
            )));
        }
        let out = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or_else(|| {
            Error::other("OUT_DIR is not set: the crate works only in a build script")
        })?;
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("generated"))? {
            let entry = entry?;
            std::fs::write(out.join(entry.file_name()), std::fs::read(entry.path())?)?;
        }
        Ok(())
    }
}

/// Computes FNV-1a over the text of all files. The checksum detects a forgotten update, not a forged file.
fn sum<P: AsRef<Path>>(protos: &[P], includes: &[P]) -> Result<u64> {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for proto in protos {
        let places = includes.iter().map(|include| include.as_ref().join(proto));
        let place = places
            .chain([proto.as_ref().to_owned()])
            .find(|place| place.exists())
            .ok_or_else(|| Error::other("a protocol file is missing"))?;
        for byte in std::fs::read(place)? {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(sum)
}
