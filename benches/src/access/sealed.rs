//! The first answer of environments with 20 sealed values, beside those with plain values.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use headwater_secrets::{SecretText, SpringKey};

use super::issuer::rsa_key;
use super::policy::{self, write_private};
use crate::Options;
use crate::client::Client;
use crate::memory::small_repository;
use crate::process::Server;
use crate::table::Bound::{self, AtMost, None as NoBound};
use crate::table::{Row, median, percentile};

/// The sealed values of an environment.
pub(super) const VALUE_COUNT: usize = 20;
/// The environments of each kind.
const ENVIRONMENT_COUNT: usize = 101;
/// The kinds of values, by the names of their services.
const KINDS: [&str; 3] = ["plain", "symmetric", "rsa"];

/// The keys of a server, in files beside the repositories.
pub(super) struct Keys {
    symmetric: SpringKey,
    rsa: SpringKey,
    files: [PathBuf; 2],
}

impl Keys {
    pub(super) fn new(work: &Path) -> anyhow::Result<Self> {
        let (passphrase, pem) = ("a passphrase of the figures".to_owned(), rsa_key()?);
        let files = ["passphrase", "rsa.pem"].map(|name| work.join(name));
        write_private(&files[0], &passphrase)?;
        write_private(&files[1], &pem)?;
        let key = |text| SpringKey::from_encrypt_key(&SecretText::new(text), "deadbeef");
        Ok(Self { symmetric: key(passphrase)?, rsa: key(pem)?, files })
    }

    /// The table of the settings that gives the keys to a server.
    pub(super) fn settings(&self) -> String {
        format!("[secrets]\nkey_files = {:?}\n", self.files)
    }

    /// A file with sealed values, and further text below them.
    pub(super) fn file(&self, kind: &str, service: usize) -> anyhow::Result<String> {
        let mut text = format!("name: {kind}-{service}\n");
        for number in 0..VALUE_COUNT {
            let plain = plain(kind, service, number);
            let value = match kind {
                "symmetric" => format!("{{cipher}}{}", self.symmetric.seal(&plain)?),
                "rsa" => format!("{{cipher}}{}", self.rsa.seal(&plain)?),
                _ => plain,
            };
            writeln!(text, "credentials.password-{number}: '{value}'")?;
        }
        Ok(text)
    }
}

/// The text of a value before it is sealed.
pub(super) fn plain(kind: &str, service: usize, number: usize) -> String {
    format!("password-{number}-of-{kind}-{service}-0123456789")
}

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let keys = Keys::new(&options.work)?;
    let mut files = vec![("application.yml".to_owned(), "shared: true\n".to_owned())];
    for kind in KINDS {
        for service in 0..ENVIRONMENT_COUNT {
            files.push((format!("{kind}-{service}.yml"), keys.file(kind, service)?));
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let repository = small_repository(&options.work, "sealed.git", &files)?;
    let text = |address| policy::settings(address, &repository, ".", None, &keys.settings());
    let server = Server::configured(&options.binary, &repository, text, "/readyz")?;

    let mut client = Client::connect(server.address)?;
    let mut millis = KINDS.map(|_| Vec::new());
    for service in 0..ENVIRONMENT_COUNT {
        for (kind, millis) in KINDS.iter().zip(&mut millis) {
            let begun = Instant::now();
            let answer = client.get(&format!("/{kind}-{service}/default"))?;
            millis.push(begun.elapsed().as_secs_f64() * 1e3);
            let last = plain(kind, service, VALUE_COUNT - 1);
            let is_open = String::from_utf8_lossy(&answer.body).contains(&last);
            ensure!(answer.status == 200 && is_open, "a value of {kind}-{service} was not opened");
        }
    }
    let [plain, symmetric, rsa] = &millis;
    let row = |figure: &str, millis: &[f64], must: Bound, goal: Bound| Row {
        figure: format!("first answer with {VALUE_COUNT} {figure}, ms"),
        must,
        goal,
        // The first one of each kind also makes the connection and the threads warm.
        measured: median(&millis[1..]),
        note: format!(
            "p99 {:.2}, fastest tenth {:.2}, of {} environments",
            percentile(&millis[1..], 0.99),
            percentile(&millis[1..], 0.1),
            ENVIRONMENT_COUNT - 1
        ),
    };
    Ok(vec![
        row("values sealed by a passphrase", symmetric, AtMost(2.0), AtMost(1.0)),
        row("values sealed by RSA 2048", rsa, AtMost(100.0), AtMost(60.0)),
        row("plain values", plain, NoBound, NoBound),
    ])
}
