//! `headwater serve`: the server, until it is told to stop.

use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::output;
use crate::access::Caller;
use crate::model::{Label, Query};
use crate::server;
use crate::settings::{DEFAULT_FILE, Flags, Settings};
use crate::store::{AnswerError, Store};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Print a settings file with every key, its default and what it means, and exit
    #[arg(long)]
    print_settings: bool,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.print_settings {
        output::print(DEFAULT_FILE)?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::load(arguments.flags)?;
    let background = output::runtime()?;
    let http = server::build(&settings, background.handle().clone())?;
    let listener = TcpListener::bind(settings.listen)
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() && settings.token_file.is_none() {
        tracing::warn!(
            %address,
            "anyone who reaches this address can read all configuration: set token_file, or listen on loopback"
        );
    }
    if !address.ip().is_loopback() && http.hosts.is_some() && http.push_token.is_none() {
        tracing::warn!(
            %address,
            "pushes from other machines are refused: set HEADWATER_PUSH_TOKEN or push.token_file"
        );
    }
    let is_proven = settings.monitor.secret.is_some() || settings.monitor.secret_file.is_some();
    if settings.token_file.is_some() && !is_proven {
        tracing::warn!(
            "reading needs a token, and /monitor needs nothing: whoever reaches it can make the server look for changes; \
             set secret_file in [monitor]"
        );
    }
    let store = std::sync::Arc::clone(&http.store);
    background.spawn(async move { load_default_label(&store).await });
    let served =
        server::block_on(async { server::run(&settings, http, listener, told_to_stop()?).await });
    // Not waited for: a read from a file system that hangs would keep the process for ever.
    background.shutdown_background();
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Loads what most requests will ask for, so that the first of them need not wait.
async fn load_default_label(store: &std::sync::Arc<Store>) {
    let query = Query {
        application: "application".into(),
        profiles: "default".into(),
        label: Label::Default,
    };
    match store.answer(&Caller::Operator, &query).await {
        Ok(reader) => {
            let reading = reader.current();
            tracing::info!(source = store.source_name(), revision = %reading.tip, "ready");
        }
        Err(error @ AnswerError::UnknownLabel(_)) => {
            tracing::warn!(source = store.source_name(), %error, "there is nothing to serve yet");
        }
        Err(error) => {
            tracing::error!(source = store.source_name(), %error, "the default label cannot be served");
        }
    }
}

/// Ends at the first TERM or INT.
pub(super) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}
