//! The certificate that the server shows, and whom it speaks to.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use tempfile::TempDir;

use crate::fixture::{Address, Child, Reply, Repository, Until, command, eventually, read};

/// How long nothing has to happen before it counts as nothing.
const SILENCE: Duration = Duration::from_millis(400);

/// A certificate for `localhost`, signed by itself, with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }
}

impl Identity {
    /// One that was valid once.
    fn expired() -> Self {
        let mut wanted = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = wanted.self_signed(&key).unwrap();
        Self {
            certificate: made.der().clone(),
            certificate_pem: made.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// The two files that the server follows.
struct Files {
    directory: TempDir,
}

impl Files {
    fn with(identity: &Identity) -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        files.write(&identity.certificate_pem, &identity.key_pem);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, certificate: &str, key: &str) {
        std::fs::write(self.path("tls.crt"), certificate).unwrap();
        std::fs::write(self.path("tls.key"), key).unwrap();
    }

    /// As an orchestrator does it: written beside, then renamed.
    fn replace(&self, identity: &Identity) {
        for (name, text) in [("tls.crt", &identity.certificate_pem), ("tls.key", &identity.key_pem)]
        {
            std::fs::write(self.path("new"), text).unwrap();
            std::fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    fn serve(&self, repository: &Repository) -> Child {
        let paths = ["tls.crt", "tls.key"].map(|name| self.path(name).display().to_string());
        let [certificate, key] = &paths;
        Child::serve(&["--source", &repository.uri(), "--tls-cert", certificate, "--tls-key", key])
    }
}

#[derive(Clone)]
struct Client(Arc<ClientConfig>);

impl Client {
    fn trusting(identities: &[&Identity], versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        for identity in identities {
            roots.add(identity.certificate.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A resumed session would show the certificate that it began with.
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// One request on a connection of its own: the answer, the certificate that was shown, the version spoken.
    fn get(
        &self,
        server: Address,
        path: &str,
    ) -> std::io::Result<(Reply, CertificateDer<'static>, ProtocolVersion)> {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut stream = StreamOwned::new(connection, server.connect());
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let reply = read(&mut stream, false);
        let shown = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
        Ok((reply, shown, stream.conn.protocol_version().unwrap()))
    }
}

fn repository() -> Repository {
    Repository::new("//- orders.yml\nname: Orders\n")
}

#[test]
fn both_present_versions_are_spoken() {
    let identity = Identity::new();
    let (files, repository) = (Files::with(&identity), repository());
    let server = files.serve(&repository);
    for (version, spoken) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let client = Client::trusting(&[&identity], &[version]);
        for path in ["/orders/dev", "/orders/dev", "/orders-dev.yml", "/livez"] {
            let (reply, _, protocol) = client.get(*server, path).unwrap();
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(protocol, spoken);
        }
    }
    // Somebody else's certificate is not taken.
    let stranger = Client::trusting(&[&Identity::new()], &[&TLS13]);
    assert!(stranger.get(*server, "/livez").is_err());
}

/// A greeting of a client that speaks this version at most.
fn hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 4, 0x00, 0x2f, 0xc0, 0x13]);
    body.extend([1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[test]
fn old_versions_and_plain_text_are_refused() {
    let identity = Identity::new();
    let (files, repository) = (Files::with(&identity), repository());
    let server = files.serve(&repository);
    for (what, bytes) in [
        ("SSL 3", hello(0)),
        ("TLS 1.0", hello(1)),
        ("TLS 1.1", hello(2)),
        (
            "plain text",
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        ("noise", vec![0xff; 512]),
    ] {
        let mut stream = server.connect();
        stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // Nothing, or an alert.
        assert!(answer.first().is_none_or(|kind| *kind == 21), "{what}: {answer:?}");
    }
    let client = Client::trusting(&[&identity], &[&TLS13]);
    assert_eq!(client.get(*server, "/orders/dev").unwrap().0.status, 200);
}

#[test]
fn a_greeting_that_never_ends_is_let_go() {
    let identity = Identity::new();
    let (files, repository) = (Files::with(&identity), repository());
    let server = files.serve(&repository);
    let begun = Instant::now();
    let waiting = [&hello(3)[..20], &[]].map(|bytes| {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        stream
    });
    let client = Client::trusting(&[&identity], &[&TLS13]);
    assert_eq!(client.get(*server, "/orders/dev").unwrap().0.status, 200);
    for mut stream in waiting {
        let _ = stream.read_to_end(&mut Vec::new()).expect("an end");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_new_certificate_is_taken_up_under_load() {
    let (old, new) = (Identity::new(), Identity::new());
    let (files, repository) = (Files::with(&old), repository());
    let server = files.serve(&repository);
    let address = *server;
    let client = Client::trusting(&[&old, &new], &[&TLS12, &TLS13]);
    let (done, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (reply, ..) = client.get(address, "/orders/dev").expect("an answer");
                    assert_eq!(reply.status, 200);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let until = Until(&done);
        eventually("the load runs", || count.load(Ordering::Relaxed) > 10);
        let shown =
            |wanted: &Identity| client.get(address, "/livez").unwrap().1 == wanted.certificate;
        assert!(shown(&old));
        for identity in [&new, &old, &new] {
            files.replace(identity);
            eventually("the certificate is shown", || shown(identity));
        }
        let before = count.load(Ordering::Relaxed);
        eventually("the load goes on", || count.load(Ordering::Relaxed) > before + 10);
        drop(until);
    });
}

#[test]
fn a_server_whose_key_does_not_fit_does_not_start() {
    let (one, other) = (Identity::new(), Identity::new());
    let (files, repository) = (Files::with(&one), repository());
    files.write(&one.certificate_pem, &other.key_pem);
    let arguments = ["--tls-cert", "tls.crt", "--tls-key", "tls.key", "--listen", "127.0.0.1:0"];
    let output = command(files.directory.path())
        .args(["serve", "--source", &repository.uri()])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("tls.key: is no private key of the certificate"), "{said}");
    assert!(!said.contains("listening"), "{said}");
}

#[test]
fn a_key_that_does_not_fit_leaves_the_old_certificate() {
    let (old, new) = (Identity::new(), Identity::new());
    let (files, repository) = (Files::with(&old), repository());
    let server = files.serve(&repository);
    let client = Client::trusting(&[&old, &new], &[&TLS13]);
    let shown = || client.get(*server, "/livez").unwrap().1;
    let kept = || server.log().matches("the old one stays valid").count();
    for (certificate, key) in [
        (new.certificate_pem.as_str(), old.key_pem.as_str()),
        ("nonsense", "nonsense"),
        ("", ""),
        (&new.certificate_pem, &new.certificate_pem),
    ] {
        let before = kept();
        files.write(certificate, key);
        eventually("the server says that it keeps the old one", || kept() > before);
        assert_eq!(shown(), old.certificate);
    }
    // Reading the files is no reason to read them again: of the last ones, at most the news of one is still to come.
    let said = kept();
    std::thread::sleep(SILENCE);
    assert!(kept() <= said + 1, "{}", server.log());
    let log = server.log();
    for line in new.key_pem.lines().chain(old.key_pem.lines()).filter(|line| line.len() > 40) {
        assert!(!log.contains(line), "a key is in the log");
    }
    files.replace(&new);
    eventually("the mended files are read", || shown() == new.certificate);
}

/// How often the log says that a fault of the certificate has begun, and that it is over.
fn told(server: &Child) -> (usize, usize) {
    let log = server.log();
    let count = |message: &str| log.matches(&format!("\"message\":\"{message}\"")).count();
    (count("the certificate cannot be used"), count("over: the certificate cannot be used"))
}

#[test]
fn a_certificate_that_has_expired_is_told() {
    let (expired, new) = (Identity::expired(), Identity::new());
    let (files, repository) = (Files::with(&expired), repository());
    let server = files.serve(&repository);
    eventually("the log has it", || told(&server) == (1, 0));
    assert!(server.log().contains("it expired at "), "{}", server.log());
    files.replace(&new);
    eventually("the log has it", || told(&server) == (1, 1));
    let client = Client::trusting(&[&new], &[&TLS13]);
    let text = |path: &str| client.get(*server, path).unwrap().0.text();
    assert!(text("/metrics").contains("headwater_faults{kind=\"certificate-unusable\"} 0\n"));
}

#[test]
fn files_that_cannot_be_used_are_told_in_every_way() {
    let (old, new) = (Identity::new(), Identity::new());
    let (files, repository) = (Files::with(&old), repository());
    let server = files.serve(&repository);
    let client = Client::trusting(&[&old, &new], &[&TLS13]);
    let text = |path: &str| client.get(*server, path).unwrap().0.text();
    files.write("nonsense", "nonsense");
    eventually("the log has it", || told(&server) == (1, 0));
    for path in ["/actuator/health", "/-/problems"] {
        assert!(text(path).contains("\"kind\":\"certificate-unusable\""), "{}", text(path));
    }
    assert!(text("/metrics").contains("headwater_faults{kind=\"certificate-unusable\"} 1\n"));
    // The operator asks for it: it is still the same.
    server.signal("HUP");
    files.replace(&new);
    eventually("the log has it", || told(&server) == (1, 1));
    assert!(!text("/actuator/health").contains("certificate-unusable"));
    // What reads /-/problems is tested with a server in clear text.
    assert!(!text("/-/problems").contains("certificate-unusable"));
}
