//! Times of answers that a caller must not tell apart, as pairs in random order on one connection, compared by Welch's t.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use headwater_access::Sha256;
use socket2::{Domain, Socket, Type};

use crate::Options;
use crate::client::Client;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{Layout, generated, name};
use crate::table::{Bound, Row, median};

/// The pairs of each case, unless the command names another number.
pub(crate) const PAIR_COUNT: usize = 50_000;
/// The largest |t| of times that do not differ.
const T_MAX: f64 = 4.5;
/// The parts of the samples that are compared, the fastest first. Slow samples are those that wait for a processor.
const PARTS: [f64; 4] = [0.25, 0.5, 0.9, 1.0];
/// The pairs from one address, fewer than the bad credentials that the server examines at once.
const PAIRS_PER_ADDRESS: usize = 900;
/// The pairs at the beginning of a connection that do not count.
const WARM_UP_COUNT: usize = 10;
/// The pairs between two reads of the environment by its owner.
const OWNER_READS_EVERY: usize = 2_000;
/// The connections of the owner, so that every worker of the server remembers the environment.
const OWNER_CONNECTION_COUNT: usize = 16;
/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The caller, which may read its own environment only.
const OWN: usize = 7;
/// The service whose files exist and are forbidden to the caller.
const OTHER: usize = 8;
/// A service that neither the repository nor the policy has. Its name is as long as the others.
const ABSENT: &str = "service-99999";
const OPERATOR: &str = "operator";

/// Two requests with answers of one length.
struct Case {
    figure: &'static str,
    requests: [Vec<u8>; 2],
    status: u16,
    /// The server limits the requests of one address.
    is_limited: bool,
}

pub(crate) fn measure(options: &Options, pair_count: usize) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, Layout::Flat, SERVICE_COUNT)?;
    let policy = write_policy(&options.work)?;
    let text = |address| settings_text(address, &repository, &policy);
    let server = Server::configured(&options.binary, &repository, text, "/livez")?;
    let owner = Owner::connect(server.address)?;
    let mut addresses = (1_u32..).map(|number| Ipv4Addr::from_bits(0x7F01_0000 + number));
    let mut rows = Vec::new();
    for case in cases() {
        let samples = sample(&case, server.address, pair_count, &mut addresses, &owner)?;
        let (t, medians) = (worst_t(&samples), samples.each_ref().map(|times| median(times)));
        rows.push(Row {
            figure: format!("{}, |t|", case.figure),
            must: Bound::AtMost(T_MAX),
            goal: Bound::AtMost(T_MAX),
            measured: t,
            note: format!("{:.2} and {:.2} us, {pair_count} pairs", medians[0], medians[1]),
        });
    }
    Ok(rows)
}

fn cases() -> [Case; 4] {
    let (own, other) = (name(OWN), name(OTHER));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let get = |path: &str| request(path, &bearer(&token(&own)));
    let with = |authorization: &str| request(&format!("/{own}/default"), authorization);
    let config = |token: &str| with(&format!("X-Config-Token: {token}\r\n"));
    let good = token(&own);
    [
        Case {
            figure: "denied environment, read by its owner / absent",
            requests: [format!("/{other}/default"), format!("/{ABSENT}/default")]
                .map(|path| get(&path)),
            status: 404,
            is_limited: false,
        },
        Case {
            figure: "denied file, existing / absent",
            requests: ["prod", "prox"]
                .map(|profile| get(&format!("/{own}/default/main/{other}-{profile}.yml"))),
            status: 404,
            is_limited: false,
        },
        Case {
            figure: "token, wrong in the first byte / in the last",
            requests: [format!("x{}", &good[1..]), format!("{}x", &good[..good.len() - 1])]
                .map(|token| config(&token)),
            status: 401,
            is_limited: true,
        },
        Case {
            figure: "wrong password, of a principal / of an unknown name",
            requests: [own.as_str(), ABSENT].map(|user| with(&basic(user))),
            status: 401,
            is_limited: true,
        },
    ]
}

fn request(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n").into_bytes()
}

/// A Basic credential of a user with a wrong password, in base64 without padding.
fn basic(user: &str) -> String {
    let digits = |bytes: &[u8]| {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let number = bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[number >> shift & 63]))
    };
    const WRONG: &str = "0123456789abcdef0123456789abcdef01234";
    let text = format!("{user}:{WRONG}");
    assert!(text.len().is_multiple_of(3), "{} bytes", text.len());
    let encoded: String = text.as_bytes().chunks(3).flat_map(digits).collect();
    format!("Authorization: Basic {encoded}\r\n")
}

/// Measures the pairs of a case, in microseconds.
fn sample(
    case: &Case,
    server: SocketAddr,
    pair_count: usize,
    addresses: &mut impl Iterator<Item = Ipv4Addr>,
    owner: &Owner,
) -> anyhow::Result<[Vec<f64>; 2]> {
    let mut samples = [const { Vec::new() }; 2];
    let mut connection: Option<Connection> = None;
    let mut order = Order(0x9E37_79B9_7F4A_7C15);
    for pair in 0..pair_count {
        if case.is_limited && pair.is_multiple_of(PAIRS_PER_ADDRESS) {
            connection = None;
        }
        if pair.is_multiple_of(OWNER_READS_EVERY) {
            owner.read()?;
        }
        let connection = match &mut connection {
            Some(connection) => connection,
            none => {
                let address = addresses.next().context("no further address")?;
                none.insert(Connection::open(case, server, address)?)
            }
        };
        let first = usize::from(order.next());
        for side in [first, 1 - first] {
            samples[side].push(connection.time(&case.requests[side])?);
        }
    }
    Ok(samples)
}

/// A kept connection whose answers all have one length.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects from an address. Sends both requests a few times and checks their answers.
    fn open(case: &Case, server: SocketAddr, from: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&server.into())?;
        socket.set_tcp_nodelay(true)?;
        let mut opened = Self { stream: socket.into(), answer: Vec::new() };
        let [first, second] = &case.requests;
        let (first, second) = (opened.whole(first, case)?, opened.whole(second, case)?);
        if first.len() != second.len() {
            bail!("{}: answers of {} and {} bytes", case.figure, first.len(), second.len());
        }
        opened.answer = first;
        for _ in 1..WARM_UP_COUNT {
            for request in &case.requests {
                opened.time(request)?;
            }
        }
        Ok(opened)
    }

    /// One answer, read to the end that its head names.
    fn whole(&mut self, request: &[u8], case: &Case) -> anyhow::Result<Vec<u8>> {
        self.stream.write_all(request)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            answer.push(byte[0]);
            if answer.len() > HEAD_BYTES_MAX {
                bail!("an answer without an end");
            }
        }
        let head = std::str::from_utf8(&answer)?;
        if !head.starts_with(&format!("HTTP/1.1 {} ", case.status)) {
            bail!("{}: expected {}: {head}", case.figure, case.status);
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then_some(value)
        });
        let mut body = vec![0; length.context("an answer without a length")?.parse()?];
        self.stream.read_exact(&mut body)?;
        answer.extend(body);
        Ok(answer)
    }

    /// The time from the request to the last byte of its answer, in microseconds.
    fn time(&mut self, request: &[u8]) -> anyhow::Result<f64> {
        const STATUS_LINE: usize = 12;
        let mut status = [0; STATUS_LINE];
        status.copy_from_slice(&self.answer[..STATUS_LINE]);
        let begun = Instant::now();
        self.stream.write_all(request)?;
        self.stream.read_exact(&mut self.answer)?;
        let time = begun.elapsed();
        if self.answer[..STATUS_LINE] != status {
            bail!("another answer: {}", String::from_utf8_lossy(&self.answer));
        }
        Ok(time.as_secs_f64() * 1e6)
    }
}

/// The principal that may read the forbidden environment.
struct Owner(Vec<TcpStream>);

impl Owner {
    fn connect(server: SocketAddr) -> anyhow::Result<Self> {
        if Client::connect(server)?.get(&format!("/{}/default", name(OTHER)))?.status != 401 {
            bail!("the server has no policy");
        }
        let streams = (0..OWNER_CONNECTION_COUNT).map(|_| TcpStream::connect(server));
        Ok(Self(streams.collect::<Result<_, _>>()?))
    }

    /// Reads the environment twice on each connection, so that the second answer comes from the memory of the worker.
    fn read(&self) -> anyhow::Result<()> {
        let name = name(OTHER);
        let headers = format!("Authorization: Bearer {}\r\n", token(&name));
        let request = request(&format!("/{name}/default"), &headers);
        let figure = "environment of the owner";
        for stream in &self.0 {
            let stream = stream.try_clone()?;
            let case = Case { figure, requests: [vec![], vec![]], status: 200, is_limited: false };
            let mut connection = Connection { stream, answer: Vec::new() };
            for _ in 0..2 {
                connection.whole(&request, &case)?;
            }
        }
        Ok(())
    }
}

/// A random order (xorshift), the same in each run.
struct Order(u64);

impl Order {
    fn next(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 63 == 1
    }
}

/// The largest |t| over parts of the samples. A part ends at the same time for both sides.
fn worst_t(samples: &[Vec<f64>; 2]) -> f64 {
    let mut all = samples.concat();
    all.sort_by(f64::total_cmp);
    let t = |part: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = ((all.len() - 1) as f64 * part) as usize;
        let of_part = |times: &Vec<f64>| -> Vec<f64> {
            times.iter().copied().filter(|time| *time <= all[index]).collect()
        };
        let [first, second] = samples.each_ref().map(of_part);
        welch_t(&first, &second).abs()
    };
    PARTS.into_iter().map(t).fold(0.0, f64::max)
}

/// Welch's t of two samples.
fn welch_t(first: &[f64], second: &[f64]) -> f64 {
    let [(mean, spread), (other_mean, other_spread)] = [first, second].map(|times| {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
        (mean, squares / (count - 1.0) / count)
    });
    (mean - other_mean) / (spread + other_spread).sqrt()
}

fn token(principal: &str) -> String {
    format!("hw_{principal}_0123456789abcdef0123456789abcdef")
}

/// Two services with a rule for their own environments, and an operator.
fn write_policy(work: &Path) -> anyhow::Result<PathBuf> {
    let principal = |name: &str, kind: &str| {
        let digest = Sha256::of(token(name).as_bytes());
        format!(
            "[[principal]]\nname = \"{name}\"\nkind = \"{kind}\"\ntokens = [{{ sha256 = \"{digest}\" }}]\n"
        )
    };
    let text = [
        "version = 1\n",
        &principal(&name(OWN), "service"),
        &principal(&name(OTHER), "service"),
        &principal(OPERATOR, "operator"),
        "[[allow]]\nwho = [\"kind:service\"]\nmay = [\"read\", \"open\"]\napplication = [\"{principal}\"]\nprofile = [\"*\"]\n",
        "[[allow]]\nwho = [\"operator\"]\nmay = [\"admin\"]\n",
    ];
    let path = work.join("timing-policy.toml");
    fs::write(&path, text.concat()).context("the policy")?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(path)
}

fn settings_text(address: SocketAddr, repository: &Path, policy: &Path) -> String {
    format!(
        "listen = \"{address}\"\n\n[access]\npolicy_file = {policy:?}\n\n[[source]]\nuri = {repository:?}\n\
         search_paths = [{:?}]\ndefault_label = \"main\"\n",
        Layout::Flat.search_path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times with a spread of about 100, the second ones later by a difference.
    fn times(difference: f64) -> [Vec<f64>; 2] {
        let mut order = Order(1);
        let mut time = move |late: f64| {
            let bits = (0..100).filter(|_| order.next()).count();
            late + 10.0 * bits as f64
        };
        [(0..20_000).map(|_| time(0.0)).collect(), (0..20_000).map(|_| time(difference)).collect()]
    }

    #[test]
    fn a_difference_shows_and_noise_does_not() {
        assert!(worst_t(&times(0.0)) < T_MAX);
        assert!(worst_t(&times(5.0)) > T_MAX);
        // Rare slow answers do not hide it.
        let mut slow = times(5.0);
        for times in &mut slow {
            times.iter_mut().step_by(100).for_each(|time| *time *= 100.0);
        }
        assert!(worst_t(&slow) > T_MAX);
    }
}
