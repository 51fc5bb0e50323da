//! `headwater compare`: compares the answers of a running Spring Cloud Config Server with those of Headwater.
//!
//! `plan` lists the environments. `subject` asks Headwater's side (`remote` over HTTP, `local` in this process), and each
//! side returns an `answer`. `judge` compares two environments by `names` and `properties`, and `text` compares flat forms
//! and files. Both return an `answer_difference`. `documented` names the differences that Headwater documents. `sweep` runs
//! the comparison, and `report` prints it.

mod answer;
mod answer_difference;
mod documented;
mod judge;
mod local;
mod names;
mod open;
mod plan;
mod properties;
mod remote;
mod report;
mod subject;
mod sweep;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

pub(super) use self::names::SourceName;
pub(super) use self::remote::escaped;
pub(super) use self::text::segment;

use self::plan::ComparePlan;
use self::remote::{RemoteCredentials, RemoteLimits, RemoteServer};
use self::report::CompareReport;
use self::text::FlatForm;
use super::{OutputForm, difference, output, sources};

#[derive(Debug, clap::Args)]
pub(super) struct CompareArguments {
    /// URL of the running Spring Cloud Config Server, with its path prefix
    spring_url: String,
    /// Source of Headwater's answers, as in `serve`, or the URL of a running Headwater. Several form a composite
    /// [default: the sources of headwater.toml, or ./config-repo]
    #[arg(env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// Settings file with overrides, and with the search paths, patterns, default labels and credentials of the sources
    /// [default: headwater.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    /// Directory to search for files, with {application}, {profile} and {label}. Repeatable
    #[arg(long = "search-path", value_name = "PATH")]
    search_paths: Vec<String>,
    /// Compare only this branch, tag, full commit id or folder. Repeatable [default: the default label, every branch and
    /// every tag]
    #[arg(long = "label", short, value_name = "LABEL")]
    labels: Vec<String>,
    /// Compare only this application. Repeatable [default: every known application]
    #[arg(long = "application", value_name = "NAME")]
    applications: Vec<String>,
    /// Compare every application for this list of profiles too, such as dev,cloud. Repeatable
    #[arg(long, value_name = "PROFILES")]
    profiles: Vec<String>,
    /// Compare these flat forms of each environment too
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FORMS")]
    forms: Vec<FlatForm>,
    /// Compare this plain file of each environment too. Repeatable
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<String>,
    /// Print the values that differ, which may be secrets
    #[arg(long)]
    values: bool,
    /// Count documented differences as differences in the exit code
    #[arg(long)]
    strict: bool,
    /// Number of simultaneous requests
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Time limit for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Number of retries of a request without an answer
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=10))]
    retries: u32,
    /// Time limit for the whole comparison, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
    /// Largest number of environments. With more, nothing is compared
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    limit: usize,
    /// User name for the Spring server
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password for the Spring server. Without --username, the user name is user
    #[arg(long, value_name = "FILE", conflicts_with = "bearer_token_file")]
    password_file: Option<PathBuf>,
    /// File with a token for the Spring server, sent as `Authorization: Bearer`
    #[arg(long, value_name = "FILE")]
    bearer_token_file: Option<PathBuf>,
    /// File with a token for the Spring server, sent as `X-Config-Token`
    #[arg(long, value_name = "FILE")]
    config_token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust for both servers, in addition to those of the system
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// File with the token that a running Headwater requires
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: CompareArguments) -> anyhow::Result<ExitCode> {
    let runtime = sources::runtime()?;
    let deadline = Duration::from_secs(arguments.deadline);
    let report = runtime.block_on(async {
        tokio::time::timeout(deadline, compare(&arguments)).await.unwrap_or_else(|_| {
            bail!(
                "the comparison did not finish within {} s. Compare less (--label, --application), or raise --deadline",
                deadline.as_secs()
            )
        })
    })?;
    match arguments.output {
        OutputForm::Json => output::print(&format!("{}\n", report.as_json()))?,
        OutputForm::Table => {
            output::print(&report.as_text())?;
            eprintln!("{}", report.summary());
        }
    }
    Ok(ExitCode::from(report.exit_code(arguments.strict)))
}

async fn compare(arguments: &CompareArguments) -> anyhow::Result<CompareReport> {
    let original = original(arguments)?;
    let subject = open::open(arguments).await?;
    let plan = ComparePlan::of(&subject, arguments).await?;
    let count = plan.environment_count();
    if count > arguments.limit {
        bail!(
            "{count} environments on {} are more than the limit of {}. Nothing was compared. Choose some with --label and --application, or \
             raise --limit",
            difference::plural(plan.labels.len(), "label"),
            arguments.limit
        );
    }
    sweep::probe(&original, &plan).await?;
    sweep::sweep(&original, &subject, plan, arguments).await
}

/// The Spring server, with its credentials.
fn original(arguments: &CompareArguments) -> anyhow::Result<RemoteServer> {
    let credentials = match (&arguments.password_file, &arguments.bearer_token_file) {
        (Some(path), _) => RemoteCredentials::Basic {
            user: arguments.username.clone().unwrap_or_else(|| "user".to_owned()),
            password: open::secret("password file", path)?,
        },
        (None, Some(path)) => RemoteCredentials::TokenFile(path.clone()),
        (None, None) => RemoteCredentials::None,
    };
    let token = arguments.config_token_file.as_deref();
    let config_token = token.map(|path| open::secret("config token file", path)).transpose()?;
    let mut remote = RemoteServer::new(&arguments.spring_url, credentials, arguments.limits()?)
        .with_context(|| "the URL of the Spring server cannot be used")?;
    remote.config_token = config_token;
    Ok(remote)
}

impl CompareArguments {
    fn limits(&self) -> anyhow::Result<RemoteLimits> {
        Ok(RemoteLimits {
            timeout: Duration::from_secs(self.timeout),
            retry_count: self.retries,
            authorities: self.ca_file.as_deref().map(open::certificates).transpose()?,
        })
    }
}
