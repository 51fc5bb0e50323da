//! `headwater serve`: runs the server until a signal stops it.

mod welcome;

use std::io::IsTerminal;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use self::welcome::Welcome;
use super::{output, signals, sources};
use crate::access::Caller;
use crate::model::{Label, Query};
use crate::server;
use crate::settings::{self, Flags, Settings};
use crate::store::{AnswerError, Store};

#[derive(Debug, clap::Args)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    flags: Flags,
    /// Print a settings file with every setting, its default and its meaning, and exit
    #[arg(long)]
    print_settings: bool,
    /// Put the rollouts of all hosted repositories aside, and serve the tip of every branch to all instances
    #[arg(long)]
    forget_rollouts: bool,
}

pub(super) fn run(arguments: ServeArguments) -> anyhow::Result<ExitCode> {
    if arguments.print_settings {
        output::print(&settings::default_file())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut settings = Settings::load(arguments.flags)?;
    settings.is_forgetting_rollouts = arguments.forget_rollouts;
    let background = sources::runtime()?;
    let reloads = signals::Reloads::listen(background.handle())?;
    let http = server::build(&settings, background.handle().clone())?;
    let listener = TcpListener::bind(settings.listen)
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let address = listener.local_addr()?;
    let has_policy = settings.access.has_policy();
    if !address.ip().is_loopback() && settings.token_file.is_none() && !has_policy {
        tracing::warn!(
            %address,
            "any client that reaches this address can read all configuration: set token_file, or listen on loopback"
        );
    }
    let needs_push_token = http.push_token.is_none() && !has_policy;
    if !address.ip().is_loopback() && http.hosts.is_some() && needs_push_token {
        tracing::warn!(
            %address,
            "pushes from other machines are rejected: set HEADWATER_PUSH_TOKEN or push.token_file"
        );
    }
    let is_proven = settings.monitor.secret.is_some() || settings.monitor.secret_file.is_some();
    if settings.token_file.is_some() && !is_proven {
        tracing::warn!(
            "reading needs a token, and /monitor does not: any client that reaches it can make the server look for changes. \
             Set secret_file in [monitor]"
        );
    }
    let store = Arc::clone(&http.store);
    let (reload, requests) = watch::channel(());
    background.spawn(reloads.forward(reload));
    let served = server::block_on(async {
        let started = server::start(&settings, http, listener)?;
        if std::io::stderr().is_terminal() {
            let welcome = Welcome::new(&settings, &started);
            background.spawn(async move { welcome.show(&store).await });
        } else {
            started.log();
            background.spawn(async move { load_default_label(&store).await });
        }
        started.serve(&settings, requests, signals::stop()?).await
    });
    // The runtime is not waited for, because a file system that hangs would keep the process for ever.
    background.shutdown_background();
    served?;
    Ok(ExitCode::SUCCESS)
}

/// The environment that is loaded first, since most requests need its label.
fn first_query() -> Query {
    Query { application: "application".into(), profiles: "default".into(), label: Label::Default }
}

/// Loads the default label, so that the first request for it need not wait.
async fn load_default_label(store: &Arc<Store>) {
    match store.answer(&Caller::Operator, &first_query()).await {
        Ok(handle) => {
            let current = handle.current();
            tracing::info!(source = store.source_name(), revision = %current.tip, "ready");
        }
        Err(error) => log_failure(store, &error),
    }
}

fn log_failure(store: &Store, error: &AnswerError) {
    let source = store.source_name();
    match error {
        AnswerError::UnknownLabel(_) => {
            tracing::warn!(source, %error, "there is nothing to serve yet");
        }
        error => tracing::error!(source, %error, "the default label cannot be served"),
    }
}
