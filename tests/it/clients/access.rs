//! A real Spring client under a policy: with its own token, with a certificate, and with the name of another application.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use headwater::settings::ClientAuth;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::Value;

use super::program::{Output, Program, installed};
use super::{Shop, rust};

const TOKEN: &str = "hw_cart_0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "changeit";

/// The service `cart` may read its own environments, with its token or its certificate.
fn policy() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, TOKEN.as_bytes());
    let digest = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    format!(
        "version = 1\n[[principal]]\nname = \"cart\"\nkind = \"service\"\ntokens = [{{ sha256 = \"{digest}\" }}]\n\
         san = [\"spiffe://shop/cart\"]\n[[allow]]\nwho = [\"cart\"]\nmay = [\"read\"]\n\
         application = [\"{{principal}}\"]\nprofile = [\"*\"]\n"
    )
}

/// Makes an authority and writes the stores of a Spring client and the files of the server.
fn write_certificates(place: &Path) {
    let mut wanted = CertificateParams::new(Vec::new()).unwrap();
    wanted.distinguished_name.push(DnType::CommonName, "authority of the tests");
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    std::fs::write(place.join("ca.crt"), wanted.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(wanted, key);
    for (file, name) in [
        ("tls", SanType::DnsName("localhost".try_into().unwrap())),
        ("client", SanType::URI("spiffe://shop/cart".try_into().unwrap())),
    ] {
        let mut wanted = CertificateParams::new(Vec::new()).unwrap();
        wanted.subject_alt_names = vec![name];
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.signed_by(&key, &issuer).unwrap();
        std::fs::write(place.join(format!("{file}.crt")), certificate.pem()).unwrap();
        std::fs::write(place.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
    let password = format!("pass:{PASSWORD}");
    let export = ["pkcs12", "-export", "-in", "client.crt", "-inkey", "client.key"];
    let target = ["-out", "client.p12", "-passout", &password];
    run(Command::new("openssl").args(export).args(target).current_dir(place));
    let import = ["-importcert", "-noprompt", "-alias", "ca", "-file", "ca.crt"];
    let target = ["-keystore", "trust.p12", "-storetype", "PKCS12", "-storepass", PASSWORD];
    run(Command::new("keytool").args(import).args(target).current_dir(place));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn start(run: &Value, url: &str, name: &str, more: &[String]) -> Output {
    let mut program = Program::of(run);
    program.rename(name);
    program.add(more);
    program.start(url)
}

#[test]
fn a_spring_client_starts_with_its_own_identity_only() {
    if !installed() {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    write_certificates(keys.path());
    let at = |name: &str| keys.path().join(name);
    std::fs::write(at("policy.toml"), policy()).unwrap();
    let shop = Shop::open_with(|settings, _| {
        settings.tls = Some((at("tls.crt"), at("tls.key")));
        settings.client_certificates.ca = Some(at("ca.crt"));
        settings.client_certificates.auth = ClientAuth::Offered;
        settings.access.policy_file = Some(at("policy.toml"));
    });
    let url = format!("https://localhost:{}", shop.server.0.port());
    let tls = |name: &str, value: String| format!("--spring.cloud.config.tls.{name}={value}");
    let file = |name: &str| format!("file:{}", at(name).display());
    let trust = vec![
        tls("enabled", "true".to_owned()),
        tls("trust-store", file("trust.p12")),
        tls("trust-store-type", "PKCS12".to_owned()),
        tls("trust-store-password", PASSWORD.to_owned()),
    ];
    let certificate = vec![
        tls("key-store", file("client.p12")),
        tls("key-store-type", "PKCS12".to_owned()),
        tls("key-store-password", PASSWORD.to_owned()),
        tls("key-password", PASSWORD.to_owned()),
    ];
    let token = vec![format!("--spring.cloud.config.password={TOKEN}")];
    let wanted = shop.run("spring-dev");
    let with = |parts: &[&Vec<String>], name: &str| {
        let arguments: Vec<String> =
            [&[&trust], parts].concat().into_iter().flatten().cloned().collect();
        start(wanted, &url, name, &arguments)
    };
    let outputs = std::thread::scope(|scope| {
        let own = scope.spawn(|| with(&[&token], "cart"));
        let by_certificate = scope.spawn(|| with(&[&certificate], "cart"));
        [own.join().unwrap(), by_certificate.join().unwrap()]
    });
    for output in outputs {
        assert_eq!(output.line, wanted["output"], "{}", output.error);
    }
    let others = std::thread::scope(|scope| {
        let by_token = scope.spawn(|| with(&[&token], "billing"));
        let by_certificate = scope.spawn(|| with(&[&certificate], "billing"));
        [by_token.join().unwrap(), by_certificate.join().unwrap()]
    });
    for output in others {
        assert_eq!((output.code, output.line), (Some(1), Value::Null), "{}", output.error);
        // The message of this client for a label that does not exist.
        assert!(output.error.contains("None of labels [] found"), "{}", output.error);
    }
    let crate_client = rust::builder(&url, wanted)
        .root_certificate_pem(std::fs::read(at("ca.crt")).unwrap())
        .token(TOKEN)
        .connect_blocking();
    crate_client.unwrap();
}
