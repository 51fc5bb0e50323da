//! Answers the trials of a server: renders the files of a configuration that is not published, and runs the check on them.

use std::sync::Arc;
use std::time::Duration;

use headwater_client::Trials;
use tokio::time::timeout;

use super::prepare;
use super::process::RunPlan;

/// The time limit of one trial. The server does not wait longer.
const TRIAL_MAX: Duration = Duration::from_secs(5);

/// Answers each trial. The program and its files stay as they are.
///
/// Cancellation: a check under way is killed, and its file is deleted.
pub(super) async fn answer(plan: Arc<RunPlan>, mut trials: Trials) {
    while let Some(trial) = trials.next().await {
        match timeout(TRIAL_MAX, plan.recipe.try_out(trial.configuration())).await {
            Ok(Ok(())) => trial.accept().await,
            Ok(Err(problem)) => {
                let problem_text = format!("{problem:#}");
                tracing::warn!(
                    problem = problem_text,
                    "a change that is being pushed cannot be used, and the server is told so"
                );
                trial.reject(prepare::reason(&problem)).await;
            }
            Err(_) => tracing::warn!("the check of a change that is being pushed takes too long"),
        }
    }
}
