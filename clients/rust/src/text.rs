//! Text files that the server keeps beside the properties, for programs that are configured by a file of their own.

use hyper::header::HeaderValue;

use crate::client::Client;
use crate::error::{Error, Failure};
use crate::fetch::{Attempt, addressed, bounded_body, check_status};
use crate::retry::{Servers, first_answer};
use crate::server::{Query, Server, Url};

impl Client {
    /// A text file, its `${…}` replaced by the server with what this application has; what it does not have stays.
    ///
    /// `name` is the path of the file in the repository. One in a folder can be asked for with a label only: that is how
    /// the protocol tells a folder from a label.
    ///
    /// # Errors
    /// [`Error::NoText`] if there is no such file; otherwise as [`Client::connect`], but no copy is kept.
    pub async fn text(&self, name: &str) -> Result<String, Error> {
        self.read_text(name, None).await
    }

    /// A text file as it was written, `${…}` and all.
    ///
    /// # Errors
    /// As [`Client::text`].
    pub async fn text_as_written(&self, name: &str) -> Result<String, Error> {
        self.read_text(name, Some("resolvePlaceholders=false")).await
    }

    async fn read_text(&self, name: &str, option: Option<&str>) -> Result<String, Error> {
        let segments: Vec<&str> = name.split('/').collect();
        if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(Error::Settings(format!("`{name}` is no path of a file")));
        }
        if segments.len() > 1 && self.query.label.is_none() {
            return Err(Error::Settings(format!("`{name}` is in a folder, which needs a label")));
        }
        let mut round = Round { client: self, header: None, name, segments, option };
        first_answer(&mut round, self.limits).await.map(|(_, text)| text)
    }
}

/// The servers while one text is asked for.
struct Round<'a> {
    client: &'a Client,
    header: Option<HeaderValue>,
    name: &'a str,
    segments: Vec<&'a str>,
    option: Option<&'a str>,
}

impl Round<'_> {
    fn url(&self, server: &Server) -> Url {
        let url = server.url(&self.client.query);
        let url = self.segments.iter().fold(url, |url, segment| url.join(segment));
        let default_label = self.client.query.label.is_none().then_some("useDefaultLabel");
        let options: Vec<&str> = default_label.into_iter().chain(self.option).collect();
        match options.is_empty() {
            true => url,
            false => url.ask(&options.join("&")),
        }
    }
}

impl Servers for Round<'_> {
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
        let request = addressed(request, server, self.header.as_ref(), "text/plain");
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
        String::from_utf8(body).map_err(|_| Failure::BadAnswer("it is no text").into())
    }
}
