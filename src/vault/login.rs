//! The token of the server: received by a login, renewed before it expires, and received anew when Vault rejects it.

use std::path::Path;
use std::time::{Duration, Instant};

use headwater_secrets::SecretText;
use serde_json::{Value as Json, json};

use super::LoginMethod;
use super::client::{VaultClient, VaultError};
use crate::regular_file;

/// The largest file with a credential, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The token of one Vault, if there is one.
#[derive(Default)]
pub(super) struct Login {
    token: Option<Token>,
}

struct Token {
    text: SecretText,
    /// The time at which it is renewed: two thirds of its life. None for a token that does not expire, or of unknown life.
    renewed_at: Option<Instant>,
    is_renewable: bool,
}

impl Login {
    /// Forgets the token, which Vault has rejected.
    pub(super) fn forget(&mut self) {
        self.token = None;
    }

    /// The time until the token is to be renewed.
    pub(super) fn until_renewal(&self) -> Option<Duration> {
        let at = self.token.as_ref()?.renewed_at?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Returns a valid token: the present one, a renewed one, or that of a new login.
    pub(super) async fn token(
        &mut self,
        method: &LoginMethod,
        client: &VaultClient,
    ) -> Result<SecretText, VaultError> {
        if let Some(token) = &self.token {
            if token.renewed_at.is_none_or(|at| Instant::now() < at) {
                return Ok(token.text.clone());
            }
            if token.is_renewable
                && let Ok(answer) =
                    client.post("auth/token/renew-self", Some(&token.text), &json!({})).await
                && let Some(renewed) = Token::of(&answer)
            {
                return Ok(self.token.insert(renewed).text.clone());
            }
        }
        self.token = None;
        let token = log_in(method, client).await?;
        Ok(self.token.insert(token).text.clone())
    }
}

impl Token {
    /// Reads the answer to a login or a renewal.
    fn of(answer: &Json) -> Option<Self> {
        let auth = answer.get("auth")?;
        let text = SecretText::new(auth.get("client_token")?.as_str()?);
        let seconds = auth.get("lease_duration")?.as_u64()?;
        let life = Duration::from_secs(seconds).mul_f64(2.0 / 3.0);
        Some(Self {
            text,
            renewed_at: (seconds > 0).then(|| Instant::now() + life),
            is_renewable: auth.get("renewable").and_then(Json::as_bool).unwrap_or(false),
        })
    }
}

async fn log_in(method: &LoginMethod, client: &VaultClient) -> Result<Token, VaultError> {
    let (mount, body) = match method {
        LoginMethod::TokenFile(path) => {
            let text = read("the token file", path).await?;
            return Ok(Token { text, renewed_at: None, is_renewable: false });
        }
        LoginMethod::AppRole { mount, role_id_file, secret_id_file } => {
            let role_id = read("the role id file", role_id_file).await?;
            let secret_id = read("the secret id file", secret_id_file).await?;
            (mount, json!({"role_id": role_id.expose(), "secret_id": secret_id.expose()}))
        }
        LoginMethod::Jwt { mount, role, token_file } => {
            let jwt = read("the token file", token_file).await?;
            (mount, json!({"role": role, "jwt": jwt.expose()}))
        }
    };
    let answer = client.post(&format!("auth/{mount}/login"), None, &body).await?;
    tracing::info!(mount, "logged in to Vault");
    Token::of(&answer).ok_or(VaultError::Malformed)
}

/// The text of a file without surrounding blanks. The error does not name the path, because clients read it in faults.
async fn read(what: &'static str, path: &Path) -> Result<SecretText, VaultError> {
    let path = path.to_owned();
    let read = move || regular_file::read_text(&path, FILE_BYTES_MAX);
    let failed = |reason: String| VaultError::File { what, reason };
    let text = tokio::task::spawn_blocking(read).await.map_err(|_| failed(String::new()))?;
    let text = SecretText::new(text.map_err(|error| failed(error.to_string()))?);
    match text.expose().trim() {
        "" => Err(failed("it is empty".to_owned())),
        text => Ok(SecretText::new(text)),
    }
}
