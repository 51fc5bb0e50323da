//! The settings that have a flag and a variable.

use std::path::PathBuf;

use super::RolloutDefault;
use super::described::help;

/// The settings that a flag or a variable can set.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    #[arg(
        help = help("source"),
        long = "source",
        value_name = "SOURCE",
        env = "HEADWATER_SOURCE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub source: Vec<String>,
    #[arg(long, value_name = "ADDRESS", env = "HEADWATER_LISTEN", help = help("listen"))]
    pub listen: Option<String>,
    #[arg(long, value_name = "DIR", env = "HEADWATER_DATA", help = help("data"))]
    pub data: Option<PathBuf>,
    #[arg(
        help = help("share"),
        long,
        value_name = "etcd://HOST:PORT/PREFIX",
        env = "HEADWATER_SHARE",
        hide_env_values = true
    )]
    pub share: Option<String>,
    #[arg(long, value_name = "NAME", env = "HEADWATER_REPLICA", help = help("replica"))]
    pub replica: Option<String>,
    #[arg(long, value_name = "DIR", env = "HEADWATER_SEED", help = help("seed"))]
    pub seed: Option<PathBuf>,
    #[arg(long, value_name = "FILE", env = "HEADWATER_PUSH_TOKEN_FILE", help = help("push-token-file"))]
    pub push_token_file: Option<PathBuf>,
    #[arg(
        help = help("rollout-default"),
        long,
        value_name = "PLAN",
        env = "HEADWATER_ROLLOUT_DEFAULT",
        hide_possible_values = true
    )]
    pub rollout_default: Option<RolloutDefault>,
    #[arg(long, value_name = "FILE", env = "HEADWATER_MONITOR_SECRET_FILE", help = help("monitor-secret-file"))]
    pub monitor_secret_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG", help = help("config"))]
    pub config: Option<PathBuf>,
    #[arg(long, value_name = "PATH", env = "HEADWATER_PREFIX", help = help("prefix"))]
    pub prefix: Option<String>,
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_CERT", help = help("tls-cert"))]
    pub tls_cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_KEY", help = help("tls-key"))]
    pub tls_key: Option<PathBuf>,
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE", help = help("token-file"))]
    pub token_file: Option<PathBuf>,
    #[arg(long, value_name = "COUNT", env = "HEADWATER_WORKERS", help = help("workers"))]
    pub workers: Option<usize>,
    #[arg(long, value_name = "BOOL", env = "HEADWATER_TOML", help = help("toml"))]
    pub toml: Option<bool>,
    #[arg(long, value_name = "BOOL", env = "HEADWATER_ACCEPT_EMPTY", help = help("accept-empty"))]
    pub accept_empty: Option<bool>,
    #[arg(long, value_name = "BOOL", env = "HEADWATER_FAIL_ON_COMPOSITE_ERROR", help = help("fail-on-composite-error"))]
    pub fail_on_composite_error: Option<bool>,
    #[arg(
        help = help("override"),
        long = "override",
        value_name = "KEY=VALUE",
        env = "HEADWATER_OVERRIDES",
        hide_env_values = true,
        value_delimiter = '\n'
    )]
    pub overrides: Vec<String>,
}
