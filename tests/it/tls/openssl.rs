//! Certificates of clients as the programs make and use them: `openssl ca` issues and revokes, `curl` connects.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::clients::policy;
use crate::fixture::{Child, Repository, directory, eventually};

/// The files of a small authority. It has no more settings than `openssl ca` needs.
const AUTHORITY: &str = "\
//- ca.cnf
[ca]
default_ca = authority
[authority]
database = index.txt
new_certs_dir = .
serial = serial
crlnumber = crlnumber
certificate = ca.crt
private_key = ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
unique_subject = no
policy = names
[names]
commonName = supplied
//- index.txt
//- serial
01
//- crlnumber
01
";

/// The longest time of a curl, in seconds. One that reaches it fails with code 28.
const CURL_SECONDS_MAX: u32 = 60;
const CURL_TIMED_OUT: i32 = 28;
/// The longest time in which the connection of a revoked certificate is closed.
const CLOSED_AFTER_MAX: Duration = Duration::from_secs(30);

/// An authority with the certificates that it has issued, in one directory.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(directory(AUTHORITY));
        authority.openssl(&format!(
            "req -x509 {NEW_KEY} -keyout ca.key -out ca.crt -days 30 -subj /CN=authority \
             -addext keyUsage=critical,keyCertSign,cRLSign"
        ));
        authority.issue("server", "localhost", "DNS:localhost", "serverAuth");
        authority.publish_crl();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().unwrap();
        assert!(status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&stderr));
    }

    /// Issues a certificate with a common name and alternative names, none if they are empty.
    fn issue(&self, file: &str, common_name: &str, names: &str, usage: &str) {
        let mut extensions =
            format!("basicConstraints = critical,CA:FALSE\nextendedKeyUsage = {usage}\n");
        if !names.is_empty() {
            extensions += &format!("subjectAltName = {names}\n");
        }
        std::fs::write(self.path("extensions"), extensions).unwrap();
        self.openssl(&format!(
            "req {NEW_KEY} -keyout {file}.key -out {file}.csr -subj /CN={common_name}"
        ));
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -in {file}.csr -out {file}.crt -extfile extensions"
        ));
    }

    fn revoke(&self, file: &str) {
        self.openssl(&format!("ca -config ca.cnf -revoke {file}.crt"));
    }

    /// Makes a revocation list, and renames it to its place.
    fn publish_crl(&self) {
        self.openssl("ca -config ca.cnf -gencrl -out new.crl");
        std::fs::rename(self.path("new.crl"), self.path("clients.crl")).unwrap();
    }
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// A server with a certificate of an authority, and the authority.
struct Bed {
    authority: Authority,
    server: Child,
    _repository: Repository,
}

impl Bed {
    fn new() -> Self {
        let authority = Authority::new();
        let repository =
            Repository::new("//- orders.yml\nname: Orders\n//- billing.yml\nname: Billing\n");
        std::fs::write(authority.path("policy.toml"), policy()).unwrap();
        let text = format!(
            "tls_cert = {:?}\ntls_key = {:?}\ntls_client_ca = {:?}\ntls_client_crl = {:?}\n\
             tls_client_auth = \"required\"\n[access]\npolicy_file = {:?}\n[[source]]\nuri = {:?}\n\
             default_label = \"main\"\n",
            authority.path("server.crt"),
            authority.path("server.key"),
            authority.path("ca.crt"),
            authority.path("clients.crl"),
            authority.path("policy.toml"),
            repository.uri(),
        );
        std::fs::write(authority.path("headwater.toml"), text).unwrap();
        let config = authority.path("headwater.toml").display().to_string();
        let server = Child::serve(&["--config", &config]);
        Self { authority, server, _repository: repository }
    }

    /// A curl with a certificate, or without one.
    fn curl(&self, certificate: Option<&str>, path: &str) -> Command {
        let port = self.server.0.port();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*"])
            .args(["--max-time", &CURL_SECONDS_MAX.to_string()])
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "--cacert"])
            .arg(self.authority.path("ca.crt"));
        if let Some(name) = certificate {
            curl.arg("--cert").arg(self.authority.path(&format!("{name}.crt")));
            curl.arg("--key").arg(self.authority.path(&format!("{name}.key")));
        }
        curl.arg(format!("https://localhost:{port}{path}"));
        curl
    }

    /// The status of the answer, or what curl says of a connection without one.
    fn status(&self, certificate: Option<&str>, path: &str) -> Result<u16, String> {
        let mut curl = self.curl(certificate, path);
        let Output { status, stdout, stderr } =
            curl.args(["--output", "/dev/null", "--write-out", "%{http_code}"]).output().unwrap();
        match status.success() {
            true => Ok(String::from_utf8(stdout).unwrap().parse().unwrap()),
            false => {
                assert_ne!(status.code(), Some(CURL_TIMED_OUT));
                Err(String::from_utf8_lossy(&stderr).into_owned())
            }
        }
    }
}

#[test]
fn certificates_of_openssl_select_principals_by_their_alternative_names() {
    let bed = Bed::new();
    let (authority, client) = (&bed.authority, "clientAuth");
    // The common name of each certificate is that of the other service.
    authority.issue("orders", "billing", "URI:spiffe://shop/orders", client);
    authority.issue("orders-dns", "billing", "DNS:orders.shop.svc", client);
    authority.issue("billing", "orders", "URI:spiffe://shop/billing", client);
    authority.issue("nameless", "orders", "", client);
    authority.issue("not-a-client", "orders", "URI:spiffe://shop/orders", "serverAuth");
    for (certificate, own, other) in [
        ("orders", "/orders/prod", "/billing/prod"),
        ("orders-dns", "/orders/prod", "/billing/prod"),
        ("billing", "/billing/prod", "/orders/prod"),
    ] {
        assert_eq!(bed.status(Some(certificate), own), Ok(200), "{certificate}");
        assert_eq!(bed.status(Some(certificate), other), Ok(404), "{certificate}");
    }
    assert_eq!(bed.status(Some("nameless"), "/orders/prod"), Ok(401));
    let stranger = Authority::new();
    stranger.issue("stranger", "orders", "URI:spiffe://shop/orders", client);
    for name in ["stranger.crt", "stranger.key"] {
        std::fs::copy(stranger.path(name), authority.path(name)).unwrap();
    }
    for certificate in [None, Some("stranger"), Some("not-a-client")] {
        let said = bed.status(certificate, "/livez");
        assert!(said.is_err(), "{certificate:?}: {said:?}");
    }
}

#[test]
fn a_certificate_that_openssl_revokes_is_rejected_and_its_stream_ends() {
    let bed = Bed::new();
    bed.authority.issue("orders", "orders", "URI:spiffe://shop/orders", "clientAuth");
    bed.authority.issue("billing", "billing", "URI:spiffe://shop/billing", "clientAuth");
    assert_eq!(bed.status(Some("orders"), "/orders/prod"), Ok(200));
    let mut curl = bed.curl(Some("orders"), "/orders/prod");
    curl.args(["--no-buffer", "--header", "Accept: text/event-stream"]).stdout(Stdio::piped());
    let mut stream = curl.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(stream.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim_end() != "event: environment" {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the stream ended");
    }
    bed.authority.revoke("orders");
    // The list is read, and not the database of the authority.
    assert_eq!(bed.status(Some("orders"), "/orders/prod"), Ok(200));
    bed.authority.publish_crl();
    let published = Instant::now();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let code = stream.wait().unwrap().code();
    assert_ne!(code, Some(CURL_TIMED_OUT), "the stream stayed open: {rest}");
    assert!(published.elapsed() < CLOSED_AFTER_MAX, "{:?}", published.elapsed());
    eventually("the certificate is rejected", || {
        bed.status(Some("orders"), "/orders/prod").is_err()
    });
    assert_eq!(bed.status(Some("billing"), "/billing/prod"), Ok(200));
}
