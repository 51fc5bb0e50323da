//! The one binary: parse, start logging, do what was asked.

use std::process::ExitCode;

use clap::Parser;
use headwater::cli::{Cli, run};

fn main() -> ExitCode {
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

/// Lines for people on a terminal, JSON for whoever collects them; `HEADWATER_LOG` says how much.
fn start_logging(default: &str) {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.with_ansi(false).with_target(false).init();
    } else {
        lines.json().flatten_event(true).init();
    }
}
