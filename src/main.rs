//! The program: parses the command line, starts logging and runs the command.

use std::process::ExitCode;

use clap::Parser;
use headwater::cli::{Cli, LogWriter, run};
use headwater::push::hook;
use headwater::terminal;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// The system's allocator keeps freed memory for the thread that freed it. A server whose threads take turns in rendering
/// answers would grow with every change.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if hook::is_called() {
        return hook::run();
    }
    let cli = Cli::parse();
    start_logging(cli.log_level());
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("headwater: {}", terminal::lines(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}

/// Logs lines for people on a terminal, and JSON elsewhere. `HEADWATER_LOG` sets the level, such as `debug` or
/// `info,headwater::store=debug`.
fn start_logging(default: &str) {
    use std::io::IsTerminal;
    let wanted = std::env::var("HEADWATER_LOG").ok().and_then(|wanted| wanted.parse().ok());
    let filter: Targets =
        wanted.unwrap_or_else(|| default.parse().expect("the levels of `Cli` are levels"));
    let lines = tracing_subscriber::fmt::layer().with_writer(|| LogWriter);
    if std::io::stderr().is_terminal() {
        let lines = lines.with_ansi(false).with_target(false);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    } else {
        let lines = lines.json().flatten_event(true);
        tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    }
}
