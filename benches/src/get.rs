//! GET of a cached environment of about 4 KB with its ETag, 256 connections; nginx serves the same bytes.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::Options;
use crate::client::Client;
use crate::load::{Contender, rounds};
use crate::process::Server;
use crate::repository::{self, generated};
use crate::table::Bound::{AtLeast, AtMost, None as NoBound};
use crate::table::{Bound, Row, median};

/// How many services the repository has.
pub(crate) const SERVICE_COUNT: usize = 5_000;

/// An environment of two files.
pub(crate) fn path() -> String {
    format!("/{}/default", repository::name(7))
}

pub(crate) fn beside_nginx(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let path = path();
    let headwater =
        Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
    let answer = Client::connect(headwater.address)?.get(&path)?;
    let etag = answer.header("etag").context("no ETag")?.to_owned();
    let body = String::from_utf8(answer.body)?;

    fs::create_dir_all(options.work.join("nginx"))?;
    fs::write(options.work.join("nginx/file.json"), &body)?;
    let memory = format!("location = /memory {{ return 200 '{body}'; }}");
    let nginx = Server::nginx(&options.work, &memory, "/file.json")?;
    let nginx_etag = Client::connect(nginx.address)?.get("/file.json")?;
    let nginx_etag = nginx_etag.header("etag").context("no ETag")?.to_owned();

    let unchanged = |etag: &str| Some(format!("If-None-Match: {etag}"));
    let mut contenders = [
        Contender::new(&nginx, "/file.json", None),
        Contender::new(&headwater, &path, None),
        Contender::new(&nginx, "/memory", None),
        Contender::new(&nginx, "/file.json", unchanged(&nginx_etag)),
        Contender::new(&headwater, &path, unchanged(&etag)),
        Contender::new(&headwater, &format!("{path}?x"), None),
    ];
    rounds(&mut contenders, options.rounds, options.seconds)?;
    let [file, hot, memory, nginx_304, hot_304, app] = &contenders;
    let size = body.len();
    Ok(vec![
        rate(&format!("GET {size} bytes / nginx file, requests/s"), hot, file, 1.05, 1.20),
        cpu(
            &format!("GET {size} bytes / nginx file, CPU/request"),
            hot,
            file,
            AtMost(0.90),
            AtMost(0.72),
        ),
        rate("GET / nginx from memory, requests/s", hot, memory, 0.85, 0.97),
        cpu("GET / nginx from memory, CPU/request", hot, memory, NoBound, NoBound),
        rate("304 / nginx 304, requests/s", hot_304, nginx_304, 0.87, 1.0),
        cpu("304 / nginx 304, CPU/request", hot_304, nginx_304, NoBound, NoBound),
        cpu("hot path / through the application, CPU/request", hot, app, NoBound, NoBound),
    ])
}

/// Two builds of the server, one beside the other: whether a change pays.
pub(crate) fn beside_another(options: &Options, other: &Path) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let path = path();
    let search_path = options.layout.search_path();
    let this = Server::headwater(&options.binary, &repository, search_path, &path)?;
    let other = Server::headwater(other, &repository, search_path, &path)?;
    let etag = Client::connect(this.address)?.get(&path)?;
    let unchanged = etag.header("etag").map(|etag| format!("If-None-Match: {etag}"));
    let mut contenders = [
        Contender::new(&this, &path, None),
        Contender::new(&other, &path, None),
        Contender::new(&this, &path, unchanged.clone()),
        Contender::new(&other, &path, unchanged),
    ];
    rounds(&mut contenders, options.rounds, options.seconds)?;
    let [hot, hot_other, hot_304, other_304] = &contenders;
    Ok(vec![
        cpu("GET / other build, CPU/request", hot, hot_other, NoBound, NoBound),
        cpu("304 / other build, CPU/request", hot_304, other_304, NoBound, NoBound),
    ])
}

fn rate(figure: &str, this: &Contender<'_>, other: &Contender<'_>, must: f64, goal: f64) -> Row {
    let (this, other) = (median(&this.rates), median(&other.rates));
    Row {
        figure: figure.to_owned(),
        must: AtLeast(must),
        goal: AtLeast(goal),
        measured: this / other,
        note: format!("{this:.0} and {other:.0} /s"),
    }
}

fn cpu(figure: &str, this: &Contender<'_>, other: &Contender<'_>, must: Bound, goal: Bound) -> Row {
    let (this, other) = (median(&this.cpu_micros), median(&other.cpu_micros));
    Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured: this / other,
        note: format!("{this:.2} and {other:.2} us"),
    }
}
