//! Makes the code of etcd's protocol out of the files that come with etcd-client:
//! `cargo run --manifest-path etcd/proto/generate/Cargo.toml -- ~/.cargo/registry/src/*/etcd-client-<version>/proto etcd/proto/generated`.
//! The build then says which number belongs into `PROTOCOL` of `proto/src/lib.rs`.

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
        panic!("say where etcd-client's protocol is, and where the code belongs");
    };
    let files = protox::compile(FILES, [root]).expect("the protocol can be read");
    tonic_prost_build::configure()
        .build_server(false)
        .out_dir(&out)
        .compile_fds(files)
        .expect("the code can be written");
    // Described beside the protocol, and used by nobody.
    for other in ["google.api.rs", "grpc.gateway.protoc_gen_openapiv2.options.rs"] {
        let _ = std::fs::remove_file(out.join(other));
    }
}
