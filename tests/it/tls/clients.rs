//! The certificates of clients: which principal they select, and what revokes them.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, version::TLS13,
};
use tempfile::TempDir;

use crate::fixture::{Address, Child, Reply, Repository, command, eventually, read};

const ORDERS: &str = "hw_orders_0123456789abcdef0123456789abcdef";
const BILLING: &str = "hw_billing_0123456789abcdef0123456789abcdef";
const OPS: &str = "hw_ops_0123456789abcdef0123456789abcdef";

/// A time at which no test runs, in seconds since 1970.
const FAR: u64 = 4_000_000_000;

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut wanted = CertificateParams::new(Vec::new()).unwrap();
        wanted.distinguished_name.push(DnType::CommonName, "authority of the tests");
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = wanted.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(wanted, key), pem }
    }

    fn issue(&self, serial: u64, names: &[SanType]) -> Identity {
        self.issue_until(serial, names, FAR)
    }

    fn issue_until(&self, serial: u64, names: &[SanType], until: u64) -> Identity {
        let mut wanted = CertificateParams::new(Vec::new()).unwrap();
        wanted.serial_number = Some(SerialNumber::from(serial));
        // The common name never counts.
        wanted.distinguished_name.push(DnType::CommonName, "orders");
        wanted.subject_alt_names = names.to_vec();
        wanted.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Identity { certificate: certificate.der().clone(), key }
    }

    /// A revocation list that ends some seconds from now.
    fn crl(&self, serials: &[u64], seconds: i64) -> String {
        let revoked_certs = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(1970, 1, 1) + Duration::from_secs(after(seconds)),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A time some seconds from now, in seconds since 1970.
fn after(seconds: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now.checked_add_signed(seconds).unwrap()
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A server that verifies the certificates of clients, and its files.
struct Bed {
    place: TempDir,
    authority: Authority,
    shown: CertificateDer<'static>,
    repository: Repository,
}

/// A client with or without a certificate. Its connections resume the session of the earlier ones.
struct Client(Arc<ClientConfig>);

type Connection = StreamOwned<ClientConnection, std::net::TcpStream>;

impl Bed {
    fn new() -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let bed = Self {
            place: tempfile::tempdir().unwrap(),
            authority: Authority::new(),
            shown: own.cert.der().clone(),
            repository: Repository::new(
                "//- orders.yml\nname: Orders\n//- billing.yml\nname: Billing\n",
            ),
        };
        bed.write("tls.crt", &own.cert.pem());
        bed.write("tls.key", &own.signing_key.serialize_pem());
        bed.write("ca.crt", &bed.authority.pem);
        bed.write("policy.toml", &policy());
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Writes a file beside its place and renames it.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn settings(&self, more: &str) -> String {
        self.write(
            "headwater.toml",
            &format!(
                "tls_cert = {:?}\ntls_key = {:?}\ntls_client_ca = {:?}\n{more}\n[access]\npolicy_file = {:?}\n\
                 [[source]]\nuri = {:?}\ndefault_label = \"main\"\n",
                self.path("tls.crt"),
                self.path("tls.key"),
                self.path("ca.crt"),
                self.path("policy.toml"),
                self.repository.uri(),
            ),
        );
        self.path("headwater.toml").display().to_string()
    }

    fn serve(&self, more: &str) -> Child {
        Child::serve(&["--config", &self.settings(more)])
    }

    fn crl_setting(&self) -> String {
        format!("tls_client_crl = {:?}", self.path("clients.crl"))
    }

    fn client(&self, identity: Option<&Identity>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.shown.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some(Identity { certificate, key }) => {
                builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        Client(Arc::new(config))
    }
}

/// The policy of the services `orders` and `billing`, with their tokens and alternative names, and of `ops`.
pub(super) fn policy() -> String {
    let principal = |name: &str, kind: &str, token: &str, sans: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "[[principal]]\nname = \"{name}\"\nkind = \"{kind}\"\ntokens = [{{ sha256 = \"{digest}\" }}]\n{sans}"
        )
    };
    let rules = "[[allow]]\nwho = [\"kind:service\"]\nmay = [\"read\"]\napplication = [\"{principal}\"]\n\
                 profile = [\"*\"]\n[[allow]]\nwho = [\"ops\"]\nmay = [\"overview\", \"list\", \"metrics\"]\n";
    [
        "version = 1\n".to_owned(),
        principal(
            "orders",
            "service",
            ORDERS,
            "san = [\"spiffe://shop/orders\", \"orders.shop.svc\"]\n",
        ),
        principal("billing", "service", BILLING, "san = [\"spiffe://shop/billing\"]\n"),
        principal("ops", "operator", OPS, ""),
        rules.to_owned(),
    ]
    .concat()
}

impl Client {
    /// One request on a connection of its own, with headers.
    fn get(&self, server: Address, path: &str, headers: &str) -> std::io::Result<Reply> {
        self.get_with_kind(server, path, headers).map(|(reply, _)| reply)
    }

    fn get_with_kind(
        &self,
        server: Address,
        path: &str,
        headers: &str,
    ) -> std::io::Result<(Reply, HandshakeKind)> {
        let mut stream = self.send(server, path, &format!("{headers}Connection: close\r\n"))?;
        // A rejected certificate is an error of the first read.
        let mut first = [0];
        stream.read_exact(&mut first)?;
        let kind = stream.conn.handshake_kind().expect("a handshake");
        Ok((read(&mut first.as_slice().chain(&mut stream), false), kind))
    }

    fn send(&self, server: Address, path: &str, headers: &str) -> std::io::Result<Connection> {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut stream = StreamOwned::new(connection, server.connect());
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")?;
        stream.flush()?;
        Ok(stream)
    }

    /// An event stream, after its first event.
    fn stream(&self, server: Address, path: &str) -> std::io::Result<Connection> {
        let mut stream = self.send(server, path, "Accept: text/event-stream\r\n")?;
        let head = read_to(&mut stream, "\r\n\r\n")?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        read_to(&mut stream, "event: environment")?;
        Ok(stream)
    }

    fn text(&self, server: Address, path: &str) -> String {
        let headers = format!("Authorization: Bearer {OPS}\r\n");
        self.get(server, path, &headers).unwrap().expect(200).text()
    }
}

fn read_to(stream: &mut Connection, end: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with(end) {
        stream.read_exact(&mut byte)?;
        text.push(char::from(byte[0]));
    }
    Ok(text)
}

/// Reads until the server closes the connection, in whatever way. Returns everything read.
fn rest(mut stream: Connection) -> String {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
    assert_ne!(end, Some(std::io::ErrorKind::WouldBlock), "the stream stays open");
    assert_ne!(end, Some(std::io::ErrorKind::TimedOut), "the stream stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn the_alternative_name_of_the_certificate_decides() {
    let bed = Bed::new();
    let server = bed.serve("tls_client_auth = \"offered\"");
    let issue = |names: &[SanType]| bed.client(Some(&bed.authority.issue(1, names)));
    let status = |client: &Client, path: &str, headers: &str| {
        client.get(*server, path, headers).unwrap().status
    };
    for names in [
        vec![uri("spiffe://shop/orders")],
        vec![dns("orders.shop.svc")],
        vec![dns("other.example.org"), uri("spiffe://other/x"), uri("spiffe://shop/orders")],
    ] {
        let client = issue(&names);
        assert_eq!(status(&client, "/orders/prod", ""), 200, "{names:?}");
        assert_eq!(status(&client, "/billing/prod", ""), 404, "{names:?}");
    }
    let nobody = bed.client(None);
    let reference = nobody.get(*server, "/orders/prod", "").unwrap().expect(401).body;
    for names in [
        vec![],
        vec![uri("spiffe://shop/Orders")],
        vec![uri("spiffe://shop/*")],
        vec![dns("*.shop.svc")],
        vec![uri("orders.shop.svc")],
        vec![uri("spiffe://shop/orders"), uri("spiffe://shop/billing")],
        vec![dns("orders.shop.svc"), uri("spiffe://shop/billing")],
        (0..200).map(|number| dns(&format!("x{number}.shop.svc"))).collect(),
    ] {
        let client = issue(&names);
        for path in ["/orders/prod", "/billing/prod", "/nosuch/path/", "/livez"] {
            let reply = client.get(*server, path, "").unwrap();
            assert_eq!(reply.status, 401, "{names:?} {path}");
            assert_eq!(reply.body, reference, "{names:?} {path}");
        }
        // A good header does not help.
        assert_eq!(status(&client, "/orders/prod", &bearer(ORDERS)), 401, "{names:?}");
    }
    let orders = issue(&[uri("spiffe://shop/orders")]);
    assert_eq!(status(&orders, "/orders/prod", &bearer(ORDERS)), 200);
    assert_eq!(status(&orders, "/orders/prod", &bearer(BILLING)), 401);
    assert_eq!(status(&orders, "/orders/prod", &bearer("wrong")), 401);
    assert_eq!(status(&nobody, "/orders/prod", &bearer(ORDERS)), 200);
    assert_eq!(status(&nobody, "/livez", ""), 200);
    let forwarded = "X-Forwarded-Client-Cert: URI=spiffe://shop/orders\r\n";
    assert_eq!(status(&nobody, "/orders/prod", forwarded), 401);
    let stranger = Authority::new().issue(1, &[uri("spiffe://shop/orders")]);
    assert!(bed.client(Some(&stranger)).get(*server, "/livez", "").is_err());
    let expired = bed.authority.issue_until(1, &[uri("spiffe://shop/orders")], after(-60));
    assert!(bed.client(Some(&expired)).get(*server, "/livez", "").is_err());
}

#[test]
fn a_revoked_certificate_is_rejected_also_on_open_connections() {
    let bed = Bed::new();
    bed.write("clients.crl", &bed.authority.crl(&[], 90 * 86_400));
    let server = bed.serve(&format!("tls_client_auth = \"required\"\n{}", bed.crl_setting()));
    assert!(bed.client(None).get(*server, "/livez", "").is_err());
    let [revoked, kept] = [(7, "spiffe://shop/orders"), (8, "spiffe://shop/billing")]
        .map(|(serial, name)| bed.client(Some(&bed.authority.issue(serial, &[uri(name)]))));
    revoked.get(*server, "/orders/prod", "").unwrap().expect(200);
    let (_, kind) = revoked.get_with_kind(*server, "/orders/prod", "").unwrap();
    assert_eq!(kind, HandshakeKind::Resumed);
    let silent = revoked.stream(*server, "/orders/prod").unwrap();
    let idle = {
        let mut stream = revoked.send(*server, "/orders/prod", "").unwrap();
        read(&mut stream, false).expect(200);
        stream
    };
    let mut lasting = kept.stream(*server, "/billing/prod").unwrap();
    let unusable = || server.log().matches("were not read again").count();
    // Files that are half-written leave the old ones in force.
    let new = bed.authority.crl(&[7], 90 * 86_400);
    for text in [&new[..new.len() / 2], "", "nonsense"] {
        let before = unusable();
        bed.write("clients.crl", text);
        eventually("the log has it", || unusable() > before);
        revoked.get(*server, "/orders/prod", "").unwrap().expect(200);
    }
    bed.write("clients.crl", &new);
    assert_eq!(rest(silent).matches("event: environment").count(), 0);
    rest(idle);
    // Both a resumed session and a new one.
    assert!(revoked.get(*server, "/orders/prod", "").is_err());
    let again = bed.client(Some(&bed.authority.issue(7, &[uri("spiffe://shop/orders")])));
    assert!(again.get(*server, "/livez", "").is_err());
    kept.get(*server, "/billing/prod", "").unwrap().expect(200);
    bed.repository.commit("//- billing.yml\nname: Later\n");
    read_to(&mut lasting, "Later").unwrap();
    // Another authority, which has issued none of them.
    bed.write("ca.crt", &Authority::new().pem);
    rest(lasting);
    assert!(kept.get(*server, "/livez", "").is_err());
}

#[test]
fn the_end_of_a_revocation_list_is_reported_before_and_after() {
    let bed = Bed::new();
    bed.write("clients.crl", &bed.authority.crl(&[], 3 * 86_400));
    let server = bed.serve(&format!("tls_client_auth = \"offered\"\n{}", bed.crl_setting()));
    let (ops, orders) = (
        bed.client(None),
        bed.client(Some(&bed.authority.issue(1, &[uri("spiffe://shop/orders")]))),
    );
    eventually("the log has it", || server.log().contains("a credential expires soon"));
    let notice = "the revocation list for client certificates expires at";
    eventually("it is a notice", || ops.text(*server, "/-/problems").contains(notice));
    let metric = "headwater_credential_expires_in_seconds{kind=\"crl\",principal=\"\"} ";
    assert!(ops.text(*server, "/metrics").contains(metric));
    orders.get(*server, "/orders/prod", "").unwrap().expect(200);
    bed.write("clients.crl", &bed.authority.crl(&[], -60));
    let fault = "client-certificates-unusable";
    eventually("it is a fault", || ops.text(*server, "/-/problems").contains(fault));
    assert!(ops.text(*server, "/actuator/health").contains(fault));
    let faults = format!("headwater_faults{{kind=\"{fault}\"}} ");
    assert!(ops.text(*server, "/metrics").contains(&format!("{faults}1\n")));
    assert!(server.log().contains("the certificates of clients cannot be verified"));
    assert!(orders.get(*server, "/orders/prod", "").is_err());
    bed.write("clients.crl", &bed.authority.crl(&[], 90 * 86_400));
    eventually("the fault is over", || {
        let problems = ops.text(*server, "/-/problems");
        !problems.contains(fault) && !problems.contains(notice)
    });
    orders.get(*server, "/orders/prod", "").unwrap().expect(200);
    let metrics = ops.text(*server, "/metrics");
    assert!(!metrics.contains(metric) && metrics.contains(&format!("{faults}0\n")), "{metrics}");
    eventually("the log has it", || {
        server.log().contains("over: the certificates of clients cannot be verified")
    });
}

#[test]
fn the_end_of_a_certificate_ends_its_stream() {
    let bed = Bed::new();
    let server = bed.serve("tls_client_auth = \"required\"");
    // A slow machine needs more time for the handshake.
    let (stream, until) = [4, 8, 16, 32]
        .into_iter()
        .find_map(|seconds| {
            let until = after(seconds);
            let identity = bed.authority.issue_until(1, &[uri("spiffe://shop/orders")], until);
            Some((bed.client(Some(&identity)).stream(*server, "/orders/prod").ok()?, until))
        })
        .expect("a stream");
    let text = rest(stream);
    assert!(!text.contains("event: "), "{text}");
    assert!(after(0) >= until);
}

#[test]
fn files_that_cannot_be_used_stop_the_start() {
    let bed = Bed::new();
    let ca = bed.authority.pem.as_str();
    for (ca, crl, expected) in [
        (ca, None, "clients.crl: No such file"),
        (ca, Some("nonsense"), "clients.crl: holds no revocation list"),
        ("nonsense", Some("nonsense"), "ca.crt: holds no certificate"),
        (&ca[..ca.len() / 2], Some("nonsense"), "ca.crt: is no PEM file"),
    ] {
        bed.write("ca.crt", ca);
        if let Some(crl) = crl {
            bed.write("clients.crl", crl);
        }
        let config =
            bed.settings(&format!("tls_client_auth = \"required\"\n{}", bed.crl_setting()));
        let mut command = command(bed.place.path());
        command.args(["serve", "--config", &config, "--listen", "127.0.0.1:0"]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("listening"), "{said}");
    }
}
