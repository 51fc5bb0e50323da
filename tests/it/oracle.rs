//! The original as oracle: what the real Spring Cloud Config Server answered, beside what we answer.
//!
//! `tests/oracle/recorded` holds its answers; `ORACLE_RECORDED` names another directory with fresh ones. Every
//! difference is in `DIFFERENCES`, with the heading of `docs/differences.md` that explains it; one that no longer
//! exists fails the test as well.

mod differences;
pub(crate) mod repository;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater::format::{self, Format};
use headwater::server;
use headwater::settings::{Settings, SourceSettings};
use serde_json::Value;

use differences::{Difference, difference};

#[test]
fn answers_are_those_of_the_original() {
    let root = root();
    let only = std::env::var("ORACLE_ONLY").ok();
    let work = tempfile::tempdir().unwrap();
    let mut tally = Tally::default();
    let mut setups: Vec<PathBuf> =
        fs::read_dir(recordings()).unwrap().map(|entry| entry.unwrap().path()).collect();
    setups.sort();
    for path in setups {
        let setup = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if setup == "clients" || only.as_ref().is_some_and(|only| *only != setup) {
            continue;
        }
        let recorded = recording(&setup);
        if let Some(Difference { heading, .. }) = difference(&setup, "*") {
            *tally.explained.entry(heading).or_default() += array(&recorded["exchanges"]).len();
            continue;
        }
        compare_setup(&root, work.path(), &setup, &recorded, &mut tally);
    }
    println!("{} requests, {} as the original answers them", tally.requests, tally.same);
    for (heading, count) in &tally.explained {
        println!("{count:4} differ: {heading}");
    }
    for problem in &tally.unexplained {
        println!("{problem}\n");
    }
    assert!(tally.unexplained.is_empty(), "{} unexplained", tally.unexplained.len());
    assert!(only.is_some() || tally.requests >= 1_000, "only {} requests", tally.requests);
    let text = fs::read_to_string(root.join("../../docs/differences.md")).unwrap();
    for heading in tally.explained.keys() {
        assert!(text.contains(&format!("## {heading}\n")), "docs/differences.md lacks {heading}");
    }
}

/// A recording of the original, fresh if the environment names a directory of those.
pub(crate) fn recording(setup: &str) -> Value {
    let recorded = recordings().join(format!("{setup}.json"));
    serde_json::from_str(&fs::read_to_string(recorded).unwrap()).unwrap()
}

fn recordings() -> PathBuf {
    std::env::var_os("ORACLE_RECORDED").map_or_else(|| root().join("recorded"), PathBuf::from)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

/// Builds the repositories of a setup in a directory; gives the settings of its server.
pub(crate) fn lay_out(recorded: &Value, place: &Path) -> Settings {
    for fixture in array(&recorded["fixtures"]) {
        let name = fixture.as_str().unwrap();
        let text = fs::read_to_string(root().join("cases").join(format!("{name}.repo"))).unwrap();
        let bare = place.join(format!("{name}.git"));
        repository::build(&text, &bare);
        repository::check_out(&bare, &place.join(name));
    }
    settings(&recorded["server"], place)
}

#[derive(Default)]
struct Tally {
    requests: usize,
    same: usize,
    explained: BTreeMap<&'static str, usize>,
    unexplained: Vec<String>,
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn compare_setup(root: &Path, work: &Path, setup: &str, recorded: &Value, tally: &mut Tally) {
    let place = work.join(setup);
    fs::create_dir(&place).unwrap();
    let settings = lay_out(recorded, &place);
    let server = Server::start(settings);
    let later = later(root);
    for exchange in array(&recorded["exchanges"]) {
        tally.requests += 1;
        let id = exchange["id"].as_str().unwrap();
        let answer = ask(server.address, exchange);
        let expected_status = later.get(&format!("{setup} {id}")).copied();
        let verdict = compare(exchange, &answer, expected_status);
        match (verdict, difference(setup, id)) {
            (Ok(Some(heading)), None) => *tally.explained.entry(heading).or_default() += 1,
            (Ok(None), None) => tally.same += 1,
            (Ok(_), Some(known)) => {
                if known.exact {
                    tally.unexplained.push(format!("{setup} {id}: no longer differs"));
                }
                tally.same += 1;
            }
            (Err(_), Some(known)) => *tally.explained.entry(known.heading).or_default() += 1,
            (Err(why), None) => tally.unexplained.push(format!(
                "{setup} {id}: {} {} {}\n{why}",
                exchange["method"].as_str().unwrap(),
                exchange["path"].as_str().unwrap(),
                exchange["headers"],
            )),
        }
    }
}

/// The neutral settings of a case as ours. Names are set to the tokens that the recording has for machine paths.
fn settings(server: &Value, place: &Path) -> Settings {
    let mut sources = Vec::new();
    let mut configured: Vec<&Value> = array(&server["sources"]).iter().collect();
    configured.sort_by_key(|source| source["order"].as_u64().unwrap_or(0));
    for source in configured {
        for repository in array(&source["repos"]) {
            sources.push(source_settings(repository, place, true));
        }
        sources.push(source_settings(source, place, false));
    }
    let overrides = server["overrides"].as_object().cloned().unwrap_or_default();
    Settings {
        prefix: server["prefix"].as_str().unwrap_or_default().to_owned(),
        accept_empty: server["accept_empty"].as_bool().unwrap_or(true),
        fail_on_composite_error: server["fail_on_composite_error"].as_bool().unwrap_or(true),
        overrides: overrides
            .iter()
            .map(|(key, value)| {
                let text = value.as_str().unwrap().replace("\\${", "${").replace("\\{", "{");
                (key.clone(), text)
            })
            .collect(),
        sources,
        ..crate::fixture::settings("")
    }
}

fn source_settings(source: &Value, place: &Path, in_group: bool) -> SourceSettings {
    let fixture = source["fixture"].as_str().unwrap();
    let is_native = source["kind"] == "native";
    let texts = |key: &str| -> Vec<String> {
        array(&source[key]).iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    // A place without placeholders is a directory of its own.
    let below = match texts("locations").as_slice() {
        [location] if is_native && !location.contains('{') => format!("/{location}"),
        _ => String::new(),
    };
    let (directory, name) = if is_native {
        (place.join(format!("{fixture}{below}")), format!("file:{{{{DIR:{fixture}}}}}{below}"))
    } else {
        (place.join(format!("{fixture}.git")), format!("{{{{URI:{fixture}}}}}"))
    };
    let mut patterns = texts("pattern");
    if in_group && patterns.is_empty() {
        patterns.push(source["name"].as_str().unwrap().to_owned());
    }
    SourceSettings {
        uri: directory.to_str().unwrap().to_owned(),
        name: Some(name),
        default_label: source["default_label"].as_str().map(str::to_owned),
        search_paths: texts("search_paths"),
        patterns,
        ..SourceSettings::default()
    }
}

/// A server in this process; it ends with the value.
struct Server {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind(settings.listen).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let background = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let http = server::build(&settings, background.handle().clone()).unwrap();
            let stopped = async {
                let _ = stopped.await;
            };
            let (_reload, requests) = tokio::sync::watch::channel(());
            actix_web::rt::System::new()
                .block_on(server::run(&settings, http, listener, requests, stopped))
                .unwrap();
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Sends the path as it stands.
fn ask(address: SocketAddr, exchange: &Value) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let method = exchange["method"].as_str().unwrap();
    let body = exchange["request_body"].as_str().unwrap_or_default();
    let mut request = format!(
        "{method} {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n",
        exchange["path"].as_str().unwrap()
    );
    for (name, value) in exchange["headers"].as_object().unwrap() {
        request.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
    }
    if !body.is_empty() || ["POST", "PUT", "PATCH"].contains(&method) {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

/// Recorded answers that later releases of the original give another status for.
fn later(root: &Path) -> BTreeMap<String, u16> {
    let text = fs::read_to_string(root.join("later.json")).unwrap();
    let later: Value = serde_json::from_str(&text).unwrap();
    let entries = later.as_array().or(later["entries"].as_array()).unwrap();
    entries
        .iter()
        .filter_map(|entry| {
            let status = u16::try_from(entry["status"].as_u64()?).ok()?;
            Some((format!("{} {}", entry["setup"].as_str()?, entry["id"].as_str()?), status))
        })
        .collect()
}

const LATER: &str = "Requests that only later releases refuse";
const OWN_ERROR: &str = "A bad file is an error of its own, not a missing master";
const JSON_ERRORS: &str = "Errors are always application/json";
const VERSIONS: &str = "Every answer names its revision";
const ORIGINS: &str = "More values have an origin";

/// Compares an answer with the recorded one; gives the heading of the rule that explains a difference.
fn compare(
    exchange: &Value,
    answer: &Answer,
    later: Option<u16>,
) -> Result<Option<&'static str>, String> {
    let expected = &exchange["answer"];
    let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&answer.body);
    if let Some(later) = later {
        return if later == answer.status {
            Ok(Some(LATER))
        } else {
            Err(format!("status {} instead of {later}, later\n  {text}", answer.status))
        };
    }
    if status == 404 && answer.status == 500 && text.contains(r#""message":""#) {
        return Ok(Some(OWN_ERROR));
    }
    if status != answer.status {
        return Err(format!("status {} instead of {status}\n  {text}", answer.status));
    }
    for name in ["allow", "accept-patch"] {
        let ours = answer.headers.get(name).map(String::as_str);
        let theirs = expected[name].as_str();
        if ours != theirs {
            return Err(format!("{name}: {ours:?} instead of {theirs:?}"));
        }
    }
    let content_type = |text: &str| text.replace("; ", ";").to_lowercase();
    let ours_type = answer.headers.get("content-type").map(|text| content_type(text));
    let theirs_type = expected["content-type"].as_str().map(content_type);
    let theirs = match exchange["body"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => base64(exchange["body_base64"].as_str().unwrap_or_default()),
    };
    if status >= 400 {
        return compare_errors(&answer.body, &theirs, ours_type, theirs_type);
    }
    if ours_type != theirs_type && status != 304 {
        return Err(format!("content-type: {ours_type:?} instead of {theirs_type:?}"));
    }
    let path = exchange["path"].as_str().unwrap().split('?').next().unwrap();
    compare_content(&neutral(&answer.body), &theirs, path)
}

fn compare_errors(
    ours: &[u8],
    theirs: &[u8],
    ours_type: Option<String>,
    theirs_type: Option<String>,
) -> Result<Option<&'static str>, String> {
    if ours == theirs {
        return Ok(None);
    }
    let said = || {
        let (ours, theirs) = (String::from_utf8_lossy(ours), String::from_utf8_lossy(theirs));
        Err(format!("ours:   {ours}\ntheirs: {theirs}"))
    };
    let Ok(ours) = serde_json::from_slice::<Value>(ours) else { return said() };
    if ours_type != theirs_type {
        return Ok(Some(JSON_ERRORS));
    }
    let Ok(theirs) = serde_json::from_slice::<Value>(theirs) else { return said() };
    if ["status", "error", "path"].iter().all(|key| ours[key] == theirs[key]) {
        Ok(None)
    } else {
        said()
    }
}

fn compare_content(ours: &[u8], theirs: &[u8], path: &str) -> Result<Option<&'static str>, String> {
    let said = || {
        let (ours, theirs) = (String::from_utf8_lossy(ours), String::from_utf8_lossy(theirs));
        Err(format!("ours:   {ours}\ntheirs: {theirs}"))
    };
    if ours == theirs {
        return Ok(None);
    }
    if let (Ok(mut ours), Ok(mut theirs)) =
        (serde_json::from_slice::<Value>(ours), serde_json::from_slice::<Value>(theirs))
    {
        drop_empty_origins(&mut ours);
        drop_empty_origins(&mut theirs);
        let mut heading = None;
        if theirs["version"].is_null() && ours["version"].is_string() {
            ours["version"] = Value::Null;
            heading = Some(VERSIONS);
        }
        if unwrap_where_bare(&mut ours, &theirs) {
            heading = Some(ORIGINS);
        }
        // As text where the order of keys counts.
        let text = Value::to_string;
        let same = if ours["propertySources"].is_array() {
            text(&ours) == text(&theirs)
        } else {
            ours == theirs
        };
        return if same { Ok(heading) } else { said() };
    }
    if path.ends_with(".yml") || path.ends_with(".yaml") {
        let parse = |bytes: &[u8]| {
            format::parse(Format::Yaml, bytes).map(|documents| {
                let properties = documents.into_iter().flat_map(|document| document.properties);
                properties
                    .map(|property| (property.key, property.value))
                    .collect::<BTreeMap<_, _>>()
            })
        };
        if let (Ok(ours), Ok(theirs)) = (parse(ours), parse(theirs))
            && ours == theirs
        {
            return Ok(None);
        }
    }
    said()
}

/// Takes the origin off values that the original gives without one.
fn unwrap_where_bare(ours: &mut Value, theirs: &Value) -> bool {
    match (&mut *ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let mut unwrapped = false;
            for (key, value) in ours {
                unwrapped |= theirs.get(key).is_some_and(|theirs| unwrap_where_bare(value, theirs));
            }
            unwrapped
        }
        (Value::Array(ours), Value::Array(theirs)) => ours
            .iter_mut()
            .zip(theirs)
            .fold(false, |unwrapped, (ours, theirs)| unwrap_where_bare(ours, theirs) | unwrapped),
        (Value::Object(members), _) if members.contains_key("origin") && !theirs.is_null() => {
            *ours = members["value"].take();
            true
        }
        _ => false,
    }
}

/// The original places an empty value of a properties file at the following line; nobody depends on that.
fn drop_empty_origins(value: &mut Value) {
    match value {
        Value::Object(members) if members.get("value").is_some_and(|value| value == "") => {
            members.remove("origin");
        }
        Value::Object(members) => members.values_mut().for_each(drop_empty_origins),
        Value::Array(items) => items.iter_mut().for_each(drop_empty_origins),
        _ => {}
    }
}

/// Our synthetic directory as the recording's token for the original's clone.
pub(crate) fn neutral(body: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(body) else {
        return body.to_vec();
    };
    let mut out = String::new();
    let mut rest = text;
    const MARK: &str = "[/repository/";
    while let Some(at) = rest.find(MARK) {
        let before = &rest[..at];
        out.push_str(before);
        let fixture = before.rfind("{{URI:").map(|start| {
            let name = &before[start + 6..];
            name[..name.find("}}").unwrap_or(0)].to_owned()
        });
        out.push_str(&format!("[{{{{DIR:{}}}}}/", fixture.unwrap_or_default()));
        rest = &rest[at + MARK.len()..];
    }
    out.push_str(rest);
    out.into_bytes()
}

fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> =
        text.bytes().filter(|c| *c != b'=' && !c.is_ascii_whitespace()).map(value).collect();
    digits
        .chunks(4)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit))
                << (6 * (4 - chunk.len()));
            bits.to_be_bytes()[1..chunk.len()].to_vec()
        })
        .collect()
}
