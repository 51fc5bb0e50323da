//! The one binary: parse, start logging, do what was asked.

use std::process::ExitCode;

use clap::Parser;
use headwater::cli::{Cli, run};
use headwater::push::hook;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    if hook::is_called() {
        return hook::run();
    }
    let cli = Cli::parse();
    start_logging(cli.log_level());
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("headwater: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Lines for people on a terminal, JSON for whoever collects them; `HEADWATER_LOG` says how much, such as `debug` or
/// `info,headwater::store=debug`.
fn start_logging(default: &str) {
    use std::io::IsTerminal;
    let wanted = std::env::var("HEADWATER_LOG").ok().and_then(|wanted| wanted.parse().ok());
    let filter: Targets =
        wanted.unwrap_or_else(|| default.parse().expect("the levels of `Cli` are levels"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        let lines = lines.with_ansi(false).with_target(false);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    } else {
        let lines = lines.json().flatten_event(true);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
}
