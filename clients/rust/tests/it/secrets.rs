//! No value and no credential appears in an error, a log line or a `Debug`.

use std::fmt::Debug;
use std::io::{Write, sink};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use headwater_client::Error;
use serde::Deserialize;
use serde_json::json;
use tracing::Subscriber;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::{Reply, Server, client, ok, response, status};

const CANARY: &str = "s3cret";

/// A type whose error quotes its input, as many do.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Quoting;

impl TryFrom<String> for Quoting {
    type Error = String;

    fn try_from(text: String) -> Result<Quoting, String> {
        Err(format!("`{text}` is not nice"))
    }
}

#[derive(Debug, Deserialize)]
enum Level {
    Info,
}

/// The recorded output.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// Records the logs of this thread as long as the guard exists.
    pub(crate) fn listen(&self) -> DefaultGuard {
        static LISTENED: Once = Once::new();
        // `tracing` disables a callsite that is first reached while there is no subscriber.
        LISTENED.call_once(|| tracing::subscriber::set_global_default(printed(sink)).unwrap());
        tracing::subscriber::set_default(printed(self.clone()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn add(&self, shown: &impl Debug, error: Option<&Error>) {
        let chain = error.map(|error| format!("{error} {error:?} {error:#?}"));
        writeln!(self.0.lock().unwrap(), "{shown:?} {shown:#?} {chain:?}").unwrap();
    }
}

impl Output {
    /// Records the error for a value that does not fit its type.
    #[track_caller]
    fn unfit<T: Debug>(&self, read: Result<T, Error>) {
        self.add(&"unfit", Some(&read.unwrap_err()));
    }
}

fn printed<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(to: W) -> impl Subscriber {
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(to).finish()
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Output;

    fn make_writer(&'a self) -> Output {
        self.clone()
    }
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let output = Output::default();
    let _guard = output.listen();

    let secret = json!({"name": "product", "version": "c0ffee", "propertySources": [{"name": "s", "source": {
        "port": CANARY, "level": CANARY, "ip": CANARY, "list": format!("1,{CANARY}"), "gone": format!("{CANARY} ${{gone}}"),
    }}]});
    let html = response("200 OK", "", &format!("<html>{CANARY}</html>"));
    let redirect = response("302 Found", &format!("Location: http://x/{CANARY}\r\n"), CANARY);
    let refusals =
        ["404 Not Found", "401 Unauthorized", "400 Bad Request", "500 Internal Server Error"];
    let replies = refusals.map(|line| response(line, "", CANARY)).into_iter();
    let directory = tempfile::tempdir().unwrap();

    for reply in
        replies.chain([ok(&secret), html, redirect, Reply::Bytes(CANARY.into()), status("200 OK")])
    {
        let server = Server::start([reply]).await;
        let url = server.url.replace("http://", &format!("http://user:{CANARY}@"));
        let url = format!("{url}/?token={CANARY}#{CANARY}");
        let builder =
            client([&server]).url(url).basic(CANARY, CANARY).deadline(Duration::from_millis(100));
        for builder in
            [builder.clone().token(CANARY), builder.last_known_good(directory.path().join("cache"))]
        {
            output.add(&builder, None);
            let client = builder.build().unwrap();
            output.add(&client, None);
            match client.connect().await {
                Err(error) => output.add(&"failed", Some(&error)),
                Ok(configuration) => {
                    output.add(&(&configuration, configuration.environment()), None);
                    output.add(&configuration.properties().collect::<Vec<_>>(), None);
                    output.unfit(configuration.get_at::<u16>("port"));
                    output.unfit(configuration.get_at::<bool>("port"));
                    output.unfit(configuration.get_at::<Level>("level"));
                    output.unfit(configuration.get_at::<std::net::IpAddr>("ip"));
                    output.unfit(configuration.get_at::<Quoting>("ip"));
                    output.unfit(configuration.get_at::<Vec<u8>>("list"));
                    output.unfit(configuration.get_at::<String>("gone"));
                }
            }
        }
    }
    for bad in [
        format!("http://{CANARY}:{CANARY}@h:port"),
        format!("{CANARY}@h"),
        format!("http://{CANARY}\n:x@"),
    ] {
        output.add(&"url", client([]).url(bad).build().err().as_ref());
    }
    output.add(&"token", client([]).token(format!("{CANARY}\n")).build().err().as_ref());

    let output = output.text();
    assert!(output.contains("request to this server failed"), "logs are captured");
    let shown = output.lines().find(|line| line.contains(CANARY));
    assert_eq!(shown, None);
}
