//! What a server says of itself: its own resources, for programs that look after servers.

use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::client::Client;
use crate::error::{Error, Failure};
use crate::fetch::{Attempt, addressed, bounded_body, check_status};
use crate::retry::{Servers, first_answer};
use crate::server::Server;

impl Client {
    /// Some of a Headwater's own resources, such as `replicas` for `/-/replicas`, as the JSON that they are, in the order in
    /// which they are named. All come from the same server: the first that gives them.
    ///
    /// # Errors
    /// [`Error::Refused`] if a server has no such resource; otherwise as [`Client::connect`], but no copy is kept.
    pub async fn resources(&self, names: &[&str]) -> Result<Vec<String>, Error> {
        let mut round = Round { client: self, header: None, names };
        first_answer(&mut round, self.limits).await.map(|(_, texts)| texts)
    }
}

/// The servers while one of them is asked.
struct Round<'a> {
    client: &'a Client,
    header: Option<HeaderValue>,
    names: &'a [&'a str],
}

impl Servers for Round<'_> {
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

impl Round<'_> {
    async fn read(&self, server: &Server, name: &str) -> Result<String, Attempt> {
        let request = self.client.http.get(server.own_url(&["-", name]));
        let request = addressed(request, server, self.header.as_ref(), "application/json");
        let response = request.send().await?;
        check_status(&response, server, &self.client.query).map_err(|attempt| match attempt {
            Attempt::Final(Error::NotFound { server, .. }) => {
                Attempt::Final(Error::Refused { server, status: StatusCode::NOT_FOUND.as_u16() })
            }
            other => other,
        })?;
        let body = bounded_body(response).await?;
        String::from_utf8(body).map_err(|_| Failure::BadAnswer("it is no text").into())
    }
}
