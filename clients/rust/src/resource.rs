//! The resources of a Headwater server about itself, for programs that monitor servers.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::Client;
use crate::error::{AttemptError, Error};
use crate::fetch::{Attempt, authorized, bounded_body, check_status};
use crate::retry::{Servers, first_answer};
use crate::server::Server;

impl Client {
    /// Reads resources of a Headwater server, such as `replicas` for `/-/replicas`, and returns their JSON texts in the
    /// order of `names`. All of them come from one server, the first that returns them.
    ///
    /// # Errors
    /// [`Error::Rejected`] when a server does not have a resource. Otherwise the errors of [`Client::connect`], without the
    /// last-known-good copy.
    pub async fn resources(&self, names: &[&str]) -> Result<Vec<String>, Error> {
        let mut attempts = ResourceAttempts { client: self, header: None, names, query: None };
        first_answer(&mut attempts, self.limits).await.map(|(_, texts)| texts)
    }
}

impl Client {
    /// Reads one resource of a Headwater server with parameters, such as `fleet` with `application` for
    /// `/-/fleet?application=…`, and returns its JSON text. It comes from the first server that returns it.
    ///
    /// # Errors
    /// The errors of [`Client::resources`].
    pub async fn resource(&self, name: &str, parameters: &[(&str, &str)]) -> Result<String, Error> {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        let mut attempts =
            ResourceAttempts { client: self, header: None, names: &[name], query: Some(&query) };
        let (_, texts) = first_answer(&mut attempts, self.limits).await?;
        Ok(texts.concat())
    }
}

/// The attempts to read the resources.
struct ResourceAttempts<'a> {
    client: &'a Client,
    header: Option<HeaderValue>,
    names: &'a [&'a str],
    /// The escaped query string of all requests.
    query: Option<&'a str>,
}

impl Servers for ResourceAttempts<'_> {
    type Answer = Vec<String>;

    fn names(&self) -> Vec<&str> {
        self.client.servers.iter().map(Server::name).collect()
    }

    async fn prepare(&mut self) -> Result<(), Error> {
        self.header = self.client.credentials.current_header().await?;
        Ok(())
    }

    async fn attempt(&self, server: usize) -> Result<Vec<String>, Attempt> {
        let server = &self.client.servers[server];
        let mut texts = Vec::with_capacity(self.names.len());
        for name in self.names {
            texts.push(self.read(server, name).await?);
        }
        Ok(texts)
    }
}

impl ResourceAttempts<'_> {
    async fn read(&self, server: &Server, name: &str) -> Result<String, Attempt> {
        let url = server.url_below_base(&["-", name]);
        let url = self.query.into_iter().fold(url, |url, query| url.with_query(query));
        let request = self.client.http.get(url);
        let request = authorized(request, server, self.header.as_ref(), "application/json");
        let response = request.send().await?;
        check_status(&response, server, &self.client.query).map_err(|attempt| match attempt {
            Attempt::Final(Error::NotFound { server, .. }) => {
                Attempt::Final(Error::Rejected { server, status: StatusCode::NOT_FOUND.as_u16() })
            }
            other => other,
        })?;
        let body = bounded_body(response).await?;
        String::from_utf8(body).map_err(|_| AttemptError::BadAnswer("it is not UTF-8 text").into())
    }
}
