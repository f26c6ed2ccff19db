//! Polar or its stand-in: the URLs, and the client's credentials.

use std::env;
use std::error::Error;

use oauth2::url::Url;
use oauth2::{AuthUrl, ClientId, ClientSecret, TokenUrl};
use tower_polar_logout::testing::FakePolar;
use tower_polar_logout::{ClientCredentials, PolarServer};

use crate::config::url;

pub(crate) struct Polar {
    client_id: String,
    client_secret: String,
    server: PolarServer,
    /// Polar's API, without a slash at the end.
    api: String,
    authorize_url: AuthUrl,
    stand_in: Option<FakePolar>,
}

impl Polar {
    pub(crate) async fn from_env() -> Result<Self, Box<dyn Error>> {
        let is_set = |name: &&str| env::var_os(name).is_some();
        if ["POLAR_CLIENT_ID", "POLAR_CLIENT_SECRET"].iter().any(is_set) {
            return Self::real();
        }
        if let Some(name) = ["POLAR_SERVER", "POLAR_AUTHORIZE_URL"].into_iter().find(is_set) {
            return Err(format!(
                "{name} is set, but POLAR_CLIENT_ID and POLAR_CLIENT_SECRET are not: \
                 set both, or unset {name} to use the stand-in"
            )
            .into());
        }
        Self::stand_in().await
    }

    fn real() -> Result<Self, Box<dyn Error>> {
        // Its error says which of the two variables is missing.
        ClientCredentials::from_env()?;
        let server = PolarServer::from_env()?;
        let (api, site) = match &server {
            PolarServer::Sandbox => ("https://sandbox-api.polar.sh", "https://sandbox.polar.sh"),
            PolarServer::Url(url) => (url.trim_end_matches('/'), url.trim_end_matches('/')),
            _ => ("https://api.polar.sh", "https://polar.sh"),
        };
        let authorize_url = match url("POLAR_AUTHORIZE_URL", "https://polar.sh/oauth2/authorize")? {
            Some(url) => AuthUrl::from_url(url),
            None => authorize_url_of(site)?,
        };
        Ok(Self {
            client_id: env::var("POLAR_CLIENT_ID")?,
            client_secret: env::var("POLAR_CLIENT_SECRET")?,
            api: api.to_owned(),
            authorize_url,
            server,
            stand_in: None,
        })
    }

    /// Starts the stand-in. The client is always the same, so that several demos on one Redis are
    /// replicas of one app.
    async fn stand_in() -> Result<Self, Box<dyn Error>> {
        let polar = FakePolar::start_for("polar_ci_demo", "polar_cs_demo").await?;
        Ok(Self {
            client_id: polar.client_id().to_owned(),
            client_secret: polar.client_secret().to_owned(),
            server: polar.server(),
            api: polar.url(),
            authorize_url: authorize_url_of(&polar.url())?,
            stand_in: Some(polar),
        })
    }

    pub(crate) fn credentials(&self) -> ClientCredentials {
        ClientCredentials::new(&*self.client_id, &*self.client_secret)
    }

    pub(crate) fn server(&self) -> PolarServer {
        self.server.clone()
    }

    pub(crate) fn client_id(&self) -> ClientId {
        ClientId::new(self.client_id.clone())
    }

    pub(crate) fn client_secret(&self) -> ClientSecret {
        ClientSecret::new(self.client_secret.clone())
    }

    pub(crate) fn authorize_url(&self) -> AuthUrl {
        self.authorize_url.clone()
    }

    pub(crate) fn token_url(&self) -> Result<TokenUrl, oauth2::url::ParseError> {
        TokenUrl::new(self.endpoint("token"))
    }

    pub(crate) fn uses_tls(&self) -> bool {
        self.api.starts_with("https:")
    }

    /// The stand-in's URL, or `None` if this is the real Polar.
    pub(crate) fn stand_in_url(&self) -> Option<String> {
        self.stand_in.as_ref().map(FakePolar::url)
    }

    fn endpoint(&self, name: &str) -> String {
        format!("{}/v1/oauth2/{name}", self.api)
    }
}

fn authorize_url_of(site: &str) -> Result<AuthUrl, oauth2::url::ParseError> {
    Ok(AuthUrl::from_url(Url::parse(&format!("{site}/oauth2/authorize"))?))
}
