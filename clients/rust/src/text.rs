//! Text files of a configuration repository, for programs that read a configuration file of their own format.

use hyper::header::HeaderValue;

use crate::client::Client;
use crate::error::{AttemptError, Error};
use crate::fetch::{Attempt, authorized, bounded_body, check_status};
use crate::retry::{Servers, first_answer};
use crate::server::{Query, Server, Url};

impl Client {
    /// Reads a text file. The server replaces its placeholders (`${…}`) with the values of this application and leaves
    /// placeholders without a value unchanged.
    ///
    /// `name` is the path of the file in the repository. A file in a folder requires a label, because the protocol cannot
    /// distinguish a folder from a label otherwise.
    ///
    /// # Errors
    /// [`Error::NoText`] when the file does not exist. Otherwise the errors of [`Client::connect`], without the
    /// last-known-good copy.
    pub async fn text(&self, name: &str) -> Result<String, Error> {
        self.read_text(name, None).await
    }

    /// Reads a text file with its placeholders unresolved.
    ///
    /// # Errors
    /// The errors of [`Client::text`].
    pub async fn text_as_written(&self, name: &str) -> Result<String, Error> {
        self.read_text(name, Some("resolvePlaceholders=false")).await
    }

    async fn read_text(&self, name: &str, option: Option<&str>) -> Result<String, Error> {
        let segments: Vec<&str> = name.split('/').collect();
        if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(Error::Settings(format!("`{name}` is not the path of a file")));
        }
        if segments.len() > 1 && self.query.label.is_none() {
            return Err(Error::Settings(format!(
                "`{name}` is in a folder, and the client has no label: a file in a folder needs a label"
            )));
        }
        let mut attempts = TextAttempts { client: self, header: None, name, segments, option };
        first_answer(&mut attempts, self.limits).await.map(|(_, text)| text)
    }
}

/// The attempts to read one text file.
struct TextAttempts<'a> {
    client: &'a Client,
    header: Option<HeaderValue>,
    name: &'a str,
    segments: Vec<&'a str>,
    option: Option<&'a str>,
}

impl TextAttempts<'_> {
    fn url(&self, server: &Server) -> Url {
        let url = server.url(&self.client.query);
        let url = self.segments.iter().fold(url, |url, segment| url.join(segment));
        let default_label = self.client.query.label.is_none().then_some("useDefaultLabel");
        let options: Vec<&str> = default_label.into_iter().chain(self.option).collect();
        if options.is_empty() { url } else { url.with_query(&options.join("&")) }
    }
}

impl Servers for TextAttempts<'_> {
    type Answer = String;

    fn names(&self) -> Vec<&str> {
        self.client.servers.iter().map(Server::name).collect()
    }

    async fn prepare(&mut self) -> Result<(), Error> {
        self.header = self.client.credentials.current_header().await?;
        Ok(())
    }

    async fn attempt(&self, server: usize) -> Result<String, Attempt> {
        let server = &self.client.servers[server];
        let request = self.client.http.get(self.url(server));
        let request = authorized(request, server, self.header.as_ref(), "text/plain");
        // A canary receives the files of the candidate.
        let request = self.client.identity.add_headers(request);
        let response = request.send().await?;
        check_status(&response, server, &self.client.query).map_err(|attempt| match attempt {
            Attempt::Final(Error::NotFound { server, .. }) => {
                let Query { application, profiles, .. } = self.client.query.clone();
                let name = self.name.to_owned();
                Attempt::Final(Error::NoText { server, name, application, profiles })
            }
            other => other,
        })?;
        let body = bounded_body(response).await?;
        String::from_utf8(body).map_err(|_| AttemptError::BadAnswer("it is not UTF-8 text").into())
    }
}
