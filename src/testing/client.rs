//! Client authentication (RFC 6749, section 2.3.1).

use std::sync::Mutex;

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use subtle::ConstantTimeEq;

use super::answer::PolarAnswer;
use super::call::Call;
use super::lock::lock;
use super::pair::issue;
use crate::polar::ClientAuthMethod;

/// The app that is registered at this server.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
    /// The method that the token endpoint accepts.
    registered: Mutex<ClientAuthMethod>,
}

impl Client {
    pub(super) fn new(id: String, secret: String) -> Self {
        Self { id, secret, registered: Mutex::default() }
    }

    pub(super) fn generate() -> Self {
        Self::new(issue("polar_ci_"), issue("polar_cs_"))
    }

    pub(super) fn register_for(&self, method: ClientAuthMethod) {
        *lock(&self.registered) = method;
    }

    /// For the token endpoint, which accepts only the method that the client is registered for.
    pub(super) fn authenticate_as_registered(&self, call: &Call) -> Result<(), PolarAnswer> {
        let registered = *lock(&self.registered);
        self.authenticate_by(call, |method| method == registered)
    }

    /// For the other endpoints, which accept both methods.
    pub(super) fn authenticate(&self, call: &Call) -> Result<(), PolarAnswer> {
        self.authenticate_by(call, |_| true)
    }

    /// Tries Basic first. After a wrong secret in Basic, it tries the form. An unknown client is an
    /// error at once: 401 in Basic, 400 in the form.
    fn authenticate_by(
        &self,
        call: &Call,
        takes: impl Fn(ClientAuthMethod) -> bool,
    ) -> Result<(), PolarAnswer> {
        if let Some((id, secret)) = call.basic()
            && self.accepts(&id, &secret, StatusCode::UNAUTHORIZED)?
            && takes(ClientAuthMethod::ClientSecretBasic)
        {
            return Ok(());
        }
        if let (Some(id), Some(secret)) = (call.value("client_id"), call.value("client_secret"))
            && self.accepts(id, secret, StatusCode::BAD_REQUEST)?
            && takes(ClientAuthMethod::ClientSecretPost)
        {
            return Ok(());
        }
        Err(invalid_client(
            StatusCode::UNAUTHORIZED,
            "The client cannot authenticate with methods: \
             ['client_secret_basic', 'client_secret_post']",
        ))
    }

    fn accepts(&self, id: &str, secret: &str, unknown: StatusCode) -> Result<bool, PolarAnswer> {
        if id.is_empty() || secret.is_empty() {
            return Ok(false);
        }
        if id != self.id {
            return Err(invalid_client(unknown, "The client does not exist on this server."));
        }
        Ok(secret.as_bytes().ct_eq(self.secret.as_bytes()).into())
    }
}

fn invalid_client(status: StatusCode, description: &str) -> PolarAnswer {
    let error = "invalid_client";
    let answer = PolarAnswer::described_error(status, error, description);
    if status != StatusCode::UNAUTHORIZED {
        return answer;
    }
    answer.header(
        WWW_AUTHENTICATE,
        &format!("Basic error=\"{error}\", error_description=\"{description}\""),
    )
}
