//! Load from wrk: two threads, a few seconds.

use std::process::Command;

use anyhow::{Context, bail};

use crate::process::Server;

/// One kind of request to one server, and what its rounds gave.
pub(crate) struct Contender<'a> {
    pub(crate) server: &'a Server,
    pub(crate) path: String,
    pub(crate) header: Option<String>,
    pub(crate) connections: usize,
    /// Every answer has a status of 400 or more.
    has_errors: bool,
    pub(crate) rates: Vec<f64>,
    pub(crate) cpu_micros: Vec<f64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(server: &'a Server, path: &str, header: Option<String>) -> Self {
        Self {
            server,
            path: path.to_owned(),
            header,
            connections: 256,
            has_errors: false,
            rates: Vec::new(),
            cpu_micros: Vec::new(),
        }
    }

    /// Expects an error as the answer to every request.
    pub(crate) fn answered_with_errors(self) -> Self {
        Self { has_errors: true, ..self }
    }

    /// Forgets the rounds so far.
    pub(crate) fn forget(&mut self) {
        self.rates.clear();
        self.cpu_micros.clear();
    }

    pub(crate) fn round(&mut self, seconds: u64) -> anyhow::Result<()> {
        let before = self.server.cpu_seconds()?;
        let mut wrk = Command::new("wrk");
        wrk.args(["-t2", "--timeout", "30s"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{seconds}s"));
        if let Some(header) = &self.header {
            wrk.arg("-H").arg(header);
        }
        let output = wrk.arg(format!("http://{}{}", self.server.address, self.path)).output()?;
        let text = String::from_utf8(output.stdout)?;
        let requests = number(&text, " requests in")?;
        let error_count = error_count(&text)?;
        let expected = if self.has_errors { requests } else { 0.0 };
        if error_count != expected || text.contains("Socket errors") {
            bail!("{} did not answer every request as expected: {text}", self.path);
        }
        let line =
            text.lines().find(|line| line.starts_with("Requests/sec:")).context("no rate")?;
        self.rates.push(line.split_whitespace().nth(1).context("no rate")?.parse()?);
        self.cpu_micros.push((self.server.cpu_seconds()? - before) * 1e6 / requests);
        Ok(())
    }
}

/// The answers with a status of 400 or more.
fn error_count(text: &str) -> anyhow::Result<f64> {
    match text.split_once("Non-2xx or 3xx responses:") {
        Some((_, rest)) => {
            Ok(rest.split_whitespace().next().context("no count of errors")?.parse()?)
        }
        None => Ok(0.0),
    }
}

fn number(text: &str, before: &str) -> anyhow::Result<f64> {
    let line = text.lines().find(|line| line.contains(before)).context("wrk failed")?;
    Ok(line.split_whitespace().next().context("no count")?.parse()?)
}

/// All contenders in turn, again and again; one round before that is not counted.
pub(crate) fn rounds(
    contenders: &mut [Contender<'_>],
    count: usize,
    seconds: u64,
) -> anyhow::Result<()> {
    for round in 0..=count {
        for contender in &mut *contenders {
            contender.round(seconds)?;
            if round == 0 {
                contender.forget();
            }
        }
    }
    Ok(())
}
