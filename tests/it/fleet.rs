//! A fleet as companies have it: a folder for each label, `application.properties` for all, one file for each of 24
//! services, 760 keys; asked as `GET /rs-x/production/<label>`, from a directory and from a git repository.
//!
//! The expectation is computed here, by a reader of its own. The original's answers to the same questions are among the
//! recordings of `oracle`.

use std::fs;
use std::path::Path;

use headwater_client::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::{Program, installed};
use crate::fixture::Server;
use crate::oracle;

const LABEL: &str = "V1.14";

/// One file, as it should be read.
struct File {
    name: String,
    properties: Vec<(String, String)>,
}

struct Fleet {
    server: Server,
    files: Vec<File>,
    /// What names of sources begin with.
    base: &'static str,
    _place: TempDir,
}

impl Fleet {
    fn open(setup: &str, base: &'static str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let settings = oracle::lay_out(&oracle::recording(setup), place.path());
        let files = read_folder(&place.path().join("fleet/config").join(LABEL));
        Self { server: Server::with(settings), files, base, _place: place }
    }

    fn in_git() -> Self {
        Self::open("fleet-git", "{{URI:fleet}}/config")
    }

    fn in_a_directory() -> Self {
        Self::open("fleet-native", "file:{{DIR:fleet}}/config")
    }

    fn file(&self, name: &str) -> &File {
        self.files.iter().find(|file| file.name == name).unwrap()
    }

    fn services(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.name != "application")
    }

    /// A source of an answer: its name, and the keys and values in the order of the file.
    fn source(&self, file: &File) -> (String, Vec<(String, String)>) {
        let name = format!("{}/{LABEL}/{}.properties", self.base, file.name);
        (name, file.properties.clone())
    }

    /// The effective value of a key, before placeholders.
    fn value(&self, service: &str, key: &str) -> Option<&str> {
        let find = |file: &str| {
            let properties = &self.file(file).properties;
            properties.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
        };
        find(service).or_else(|| find("application"))
    }
}

#[test]
fn the_fleet_is_as_large_as_it_should_be() {
    let fleet = Fleet::in_a_directory();
    assert_eq!(fleet.files.len(), 25);
    let key_count: usize = fleet.files.iter().map(|file| file.properties.len()).sum();
    assert_eq!(key_count, 760);
    let bracketed = |file: &File| file.properties.iter().any(|(key, _)| key.contains("[/**]"));
    assert_eq!(fleet.files.iter().filter(|file| bracketed(file)).count(), 25);
}

#[test]
fn every_service_gets_its_file_and_that_of_all() {
    for fleet in [Fleet::in_git(), Fleet::in_a_directory()] {
        let all = fleet.source(fleet.file("application"));
        for service in fleet.services() {
            let answer = fleet.server.get(&format!("/{}/production/{LABEL}", service.name));
            let answer = answer.expect(200).json();
            assert_eq!(answer["name"], service.name.as_str());
            assert_eq!(answer["profiles"], json!(["production"]));
            assert_eq!(answer["label"], LABEL);
            assert_eq!(sources(&answer), [fleet.source(service), all.clone()], "{}", service.name);
        }
    }
}

/// By hand, so that a mistake of the reader below cannot hide one of the server.
#[test]
fn values_are_what_people_meant() {
    for fleet in [Fleet::in_git(), Fleet::in_a_directory()] {
        let answer =
            fleet.server.get(&format!("/rs-gateway/production/{LABEL}")).expect(200).json();
        let gateway = &answer["propertySources"][0]["source"];
        let all = &answer["propertySources"][1]["source"];
        for (source, key, value) in [
            (gateway, "server.port", "8080"),
            (gateway, "info.motto", "Tür und Tor"),
            (gateway, "spring.cloud.gateway.routes[0].uri", "lb://rs-catalog"),
            (gateway, "spring.cloud.gateway.routes[36].id", "fallback"),
            (gateway, "spring.cloud.gateway.routes[36].uri", "http://fallback.fleet.example:8136"),
            (gateway, "spring.cloud.gateway.routes[36].filters[1]", "AddRequestHeader=X-Route, 36"),
            (
                gateway,
                "spring.cloud.gateway.globalcors.cors-configurations.[/**].allowedOrigins",
                "https://shop.fleet.example",
            ),
            (gateway, "fleet.proxies[0]", "http://proxy-gateway.fleet.example:3128/"),
            (all, "fleet.cors.[/**].max-age", "3600"),
            (all, "fleet.public[/assets/**]", "true"),
            (all, "fleet.no-proxy", "localhost,127.0.0.1,.fleet.example"),
            (all, "fleet.greeting", "Grüß Gott, señor Ångström ½ §"),
            (all, "info.motto", "Geht nicht, gibt\u{2019}s nicht"),
            (all, "fleet.emoji", "\u{1f680}"),
            (all, "fleet.empty", ""),
            (all, "fleet.empty-below", ""),
            (all, "fleet.blank key", "a key with a blank"),
            (all, "fleet.leading", "   three blanks kept"),
            (all, "fleet.trailing", "two blanks kept  "),
            (all, "fleet.tab", "a\tb"),
            (all, "fleet.windows", "C:\\fleet\\data"),
            (all, "fleet.number", "007"),
            (all, "fleet.hash", "#1 of 2 ! not a comment"),
            (all, "logging.level.root", "WARN"),
            (all, "logging.file.name", "/var/log/fleet/${spring.application.name}.log"),
        ] {
            assert_eq!(source[key], value, "{key}");
        }
        let is_route =
            |key: &String| key.starts_with("spring.cloud.gateway.routes[") && key.ends_with("].id");
        assert_eq!(gateway.as_object().unwrap().keys().filter(|key| is_route(key)).count(), 37);
    }
}

#[test]
fn labels_are_apart() {
    for fleet in [Fleet::in_git(), Fleet::in_a_directory()] {
        let answer = fleet.server.get("/rs-gateway/production/V1.15").expect(200).json();
        let names: Vec<_> = sources(&answer).into_iter().map(|(name, _)| name).collect();
        let name = |file: &str| format!("{}/V1.15/{file}.properties", fleet.base);
        assert_eq!(names, [name("rs-gateway"), name("application")]);
        assert_eq!(answer["propertySources"][1]["source"]["info.fleet"], "Größe XL");
        let nobody = fleet.server.get("/rs-nobody/production/V1.15").expect(200).json();
        assert_eq!(sources(&nobody).len(), 1);
    }
}

#[test]
fn routes_arrive_as_types() {
    #[derive(Deserialize)]
    struct Gateway {
        routes: Vec<Route>,
    }
    #[derive(Deserialize)]
    struct Route {
        id: String,
        uri: String,
        predicates: Vec<String>,
        filters: Vec<String>,
    }
    for fleet in [Fleet::in_git(), Fleet::in_a_directory()] {
        let client = Client::builder().url(format!("http://{}", fleet.server.0));
        let client = client.application("rs-gateway").profiles(["production"]).label(LABEL);
        let gateway: Gateway =
            client.connect_blocking().unwrap().get_at("spring.cloud.gateway").unwrap();
        assert_eq!(gateway.routes.len(), 37);
        for (index, route) in gateway.routes.iter().enumerate() {
            let at = |member: &str| {
                let key = format!("spring.cloud.gateway.routes[{index}].{member}");
                fleet.value("rs-gateway", &key).unwrap()
            };
            assert_eq!((route.id.as_str(), route.uri.as_str()), (at("id"), at("uri")));
            assert_eq!(route.predicates, [at("predicates[0]")]);
            assert_eq!(route.filters[0], at("filters[0]"));
            assert_eq!(route.filters.len(), if index % 6 == 0 { 2 } else { 1 });
        }
    }
}

#[test]
fn real_clients_boot_a_service_of_the_fleet() {
    const KEYS: &str = "server.port,fleet.cors.[/**].allowed-origins,spring.cloud.gateway.routes[36].uri,\
                        fleet.greeting,fleet.no-proxy,fleet.proxies[0]";
    if !installed() {
        return;
    }
    let fleet = Fleet::in_a_directory();
    let ask = |client: &str, label: &str, keys: &str| {
        let run = json!({
            "client": client, "name": "rs-gateway", "profiles": "production", "label": label, "keys": keys,
        });
        let output = Program::of(&run).start(&format!("http://{}", fleet.server.0));
        assert_eq!(output.code, Some(0), "{client}\n{}", output.error);
        output.line
    };
    for client in ["spring-boot", "node"] {
        let line = ask(client, LABEL, KEYS);
        for key in KEYS.split(',') {
            assert_eq!(
                line["values"][key],
                fleet.value("rs-gateway", key).unwrap(),
                "{client} {key}"
            );
        }
    }
    // Python's client takes every bracket for an index and fails on `[/**]`, so it gets the label that has none.
    let line = ask("python", "V1.15", "server.port,info.fleet,spring.cloud.gateway.routes[0].uri");
    let values = &line["values"];
    assert_eq!(values["server.port"], "8081");
    assert_eq!(values["info.fleet"], "Größe XL");
    assert_eq!(values["spring.cloud.gateway.routes[0].uri"], "lb://rs-catalog");
}

fn sources(answer: &Value) -> Vec<(String, Vec<(String, String)>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let source = |source: &Value| {
        let properties = source["source"].as_object().unwrap();
        let properties = properties.iter().map(|(key, value)| (key.clone(), text(value)));
        (text(&source["name"]), properties.collect())
    };
    answer["propertySources"].as_array().unwrap().iter().map(source).collect()
}

fn read_folder(folder: &Path) -> Vec<File> {
    let file = |path: &Path| File {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        properties: read(&fs::read(path).unwrap()),
    };
    fs::read_dir(folder).unwrap().map(|entry| file(&entry.unwrap().path())).collect()
}

/// A `.properties` file as `java.util.Properties` describes it, in Latin-1, as short as can be.
fn read(bytes: &[u8]) -> Vec<(String, String)> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.lines().map(str::trim_start);
    let mut properties = Vec::new();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut line = line.to_owned();
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().unwrap_or_default());
        }
        let mut escaped = false;
        let end = line.find(|c: char| {
            let ends = !escaped && "=: \t".contains(c);
            escaped = !escaped && c == '\\';
            ends
        });
        let (key, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_start();
        let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        properties.push((unescape(key), unescape(rest)));
    }
    properties
}

fn unescape(text: &str) -> String {
    let mut units = Vec::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        let sign = match sign {
            '\\' => match signs.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('u') => {
                    let digits: String = signs.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap());
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            sign => sign,
        };
        units.extend_from_slice(sign.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).unwrap()
}
