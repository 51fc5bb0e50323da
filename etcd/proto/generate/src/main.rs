//! Generates the code of etcd's protocol from the files in etcd-client:
//! `cargo run --manifest-path etcd/proto/generate/Cargo.toml -- ~/.cargo/registry/src/*/etcd-client-<version>/proto etcd/proto/generated`.
//! The next build then prints the checksum for `PROTOCOL` in `etcd/proto/src/lib.rs`.

use std::path::PathBuf;

const FILES: [&str; 5] = [
    "etcd/api/authpb/auth.proto",
    "etcd/api/etcdserverpb/rpc.proto",
    "etcd/api/mvccpb/kv.proto",
    "etcd/server/etcdserver/api/v3election/v3electionpb/v3election.proto",
    "etcd/server/etcdserver/api/v3lock/v3lockpb/v3lock.proto",
];

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(root), Some(out)) = (arguments.next(), arguments.next()) else {
        panic!("usage: generate PROTOCOL_DIRECTORY OUTPUT_DIRECTORY");
    };
    let files = protox::compile(FILES, [root]).expect("the protocol files are valid");
    tonic_prost_build::configure()
        .build_server(false)
        .out_dir(&out)
        .compile_fds(files)
        .expect("the output directory is writable");
    // The protocol imports these packages, but etcd-client does not use their code.
    for other in ["google.api.rs", "grpc.gateway.protoc_gen_openapiv2.options.rs"] {
        let _ = std::fs::remove_file(out.join(other));
    }
}
