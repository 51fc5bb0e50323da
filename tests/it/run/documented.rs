//! `docs/run.md`: what stands there in code is what is run here, with the programs that it names.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use super::bed::{Run, children};
use crate::documentation;
use crate::fixture::{Address, Repository, Server, Until, directory, eventually, installed};

/// A program that shows its file, or its port, and stays.
const PROGRAM: &str = "#!/bin/sh\ntrap 'show' HUP\nshow() { if [ $# = 1 ]; then cat \"$1\"; else echo \"port $SERVER_PORT\"; fi; }\n\
    show \"$@\"\nwhile :; do sleep 0.02; done\n";

/// The blocks of one language below a heading.
#[track_caller]
fn blocks(heading: &str, language: &str) -> Vec<String> {
    documentation::blocks("docs/run.md", heading, language)
}

struct Shop {
    repository: Repository,
    server: Server,
    place: TempDir,
    gateway: Address,
}

impl Shop {
    /// The example configuration, with ports of this machine that are free.
    fn open(product: u16) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config-repo");
        let files: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|file| file.unwrap())
            .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
            .collect();
        let files: Vec<_> =
            files.iter().map(|(name, bytes)| (name.as_str(), Some(bytes.as_slice()))).collect();
        let repository = Repository::new("//- application.yml\n");
        repository.commit_bytes("main", &files);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = Address(listener.local_addr().unwrap());
        let server = Server::start(&repository.uri());
        let shop = Self { repository, server, place: directory(""), gateway };
        shop.routes(&[("/products", "product", product)]);
        shop
    }

    /// The gateway's own file.
    fn routes(&self, routes: &[(&str, &str, u16)]) {
        let mut text = format!("server:\n  port: {}\ngateway:\n  routes:\n", self.gateway.0.port());
        let mut services = String::from("  services:\n");
        for (path, service, port) in routes {
            text += &format!("  - path: \"{path}\"\n    service: {service}\n");
            services += &format!("    {service}: [\"127.0.0.1:{port}\"]\n");
        }
        text += &services;
        self.repository.commit_bytes("main", &[("gateway-prod.yml", Some(text.as_bytes()))]);
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.place.path().join(name);
        fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
    }

    /// Types a command of the page.
    fn run(&self, command: &str) -> Run {
        let binary = crate::fixture::command(self.place.path());
        let binaries = Path::new(binary.get_program()).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap();
        let mut shell = crate::fixture::command(self.place.path());
        let variables: Vec<_> = shell
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.map(|value| value.to_owned())))
            .collect();
        shell = std::process::Command::new("sh");
        for (name, value) in variables {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(self.place.path()).args(["-c", &format!("exec {command}")]);
        shell.env("PATH", format!("{binaries}:{path}:/usr/sbin:/sbin"));
        shell.env("HEADWATER_URL", format!("http://{}", self.server.0));
        Run::of(shell)
    }
}

/// A status and a body, or why not.
fn get(address: Address, path: &str) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address.0)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().map_err(|error| error.to_string())?;
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no status: {text}"))?;
    Ok((status, text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()))
}

fn answers(address: Address, path: &str, status: u16) -> bool {
    matches!(get(address, path), Ok((found, _)) if found == status)
}

/// A service that says yes to everything, for as long as the test runs.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            // One that has gone needs no answer.
            let _ = stream.read(&mut head);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes");
        }
    });
    address
}

#[test]
fn haproxy_takes_a_new_route_without_a_dropped_connection_and_never_a_bad_one() {
    if !installed(&["/usr/sbin/haproxy"]) {
        return;
    }
    let product = service().port();
    let shop = Shop::open(product);
    shop.write("haproxy.cfg.j2", &blocks("Configure HAProxy", "jinja")[0]);
    let run = shop.run(&blocks("Configure HAProxy", "sh")[0]);
    eventually("the gateway answers", || answers(shop.gateway, "/products", 200));
    let master = children(run.id());
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let customer = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(get(shop.gateway, "/products"), Ok((200, "yes".to_owned())));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let until = Until(&over);
        shop.routes(&[("/products", "product", product), ("/goods", "goods", product)]);
        eventually("the new route is taken", || answers(shop.gateway, "/goods", 200));
        shop.routes(&[("/products", "product", product), ("/goods } nonsense", "goods", product)]);
        run.says("the check command rejected the new file");
        let served = count.load(Ordering::Relaxed);
        eventually("customers go on", || {
            count.load(Ordering::Relaxed) > served + 50 || customer.is_finished()
        });
        assert!(answers(shop.gateway, "/goods", 200));
        drop(until);
        customer.join().expect("no connection is dropped");
    });
    assert_eq!(children(run.id()), master);
    run.stop();
    assert!(get(shop.gateway, "/products").is_err());
}

#[test]
fn nginx_takes_a_new_value_and_never_a_bad_one() {
    if !installed(&["/usr/sbin/nginx"]) {
        return;
    }
    let shop = Shop::open(1);
    shop.write("nginx.conf.j2", &blocks("Configure nginx", "jinja")[0]);
    let run = shop.run(&blocks("Configure nginx", "sh")[0]);
    let name = |name: &str| get(shop.gateway, "/name") == Ok((200, name.to_owned()));
    eventually("nginx answers", || name("Riverside Books"));
    let master = children(run.id());
    let rename = |name: &str| {
        let text = format!(
            "shop.name: '{name}'\nserver.port: {}\ngateway.routes: []\n",
            shop.gateway.0.port()
        );
        shop.repository.commit_bytes("main", &[("gateway-prod.yml", Some(text.as_bytes()))]);
    };
    rename("Lakeside Books");
    eventually("the new name is taken", || name("Lakeside Books"));
    rename("\"; nonsense");
    run.says("the check command rejected the new file");
    // Workers of before may still have answered.
    eventually("the name stays", || name("Lakeside Books"));
    rename("Hillside Books");
    eventually("the next name is taken", || name("Hillside Books"));
    assert_eq!(children(run.id()), master);
    run.stop();
}

#[test]
fn programs_of_all_kinds_are_run_as_the_page_says() {
    let shop = Shop::open(1);
    shop.write("product", PROGRAM);
    shop.write("legacy", PROGRAM);
    shop.write("legacy-control", "#!/bin/sh\necho \"$1\" >told\n");
    let begin = blocks("Run any program", "sh");
    let own = blocks("Configure a program that reads a file once", "sh");
    let commands: Vec<&str> =
        begin.iter().chain(&own).flat_map(|block| block.lines()).map(str::trim).collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    let shown = ["port 8081", "port 8081", "server.port=8081", "\"port\":8081"];
    for (number, (command, shown)) in commands.iter().zip(shown).enumerate() {
        let run = shop.run(command);
        match number {
            // The program does not look at the file; it is there.
            1 => eventually("the file is there", || {
                fs::read_to_string(shop.place.path().join("product.yml"))
                    .is_ok_and(|text| text.contains("port: 8081"))
            }),
            _ => eventually(command, || run.out().contains(shown)),
        }
        run.stop();
    }
    // The command is told of a change.
    let run = shop.run(commands[3]);
    eventually("the program runs", || run.out().contains(shown[3]));
    shop.repository.commit("//- product-prod.yml\nserver.port: 9\n");
    eventually("the command is told", || {
        fs::read_to_string(shop.place.path().join("told")).is_ok_and(|text| text == "reload\n")
    });
    run.stop();
}
