//! 500 clients that connect at once, each with a new JWT, beside the same clients with tokens.

use std::time::Duration;

use super::issuer::Issuer;
use super::policy::{self, KEYS_FILE, PRINCIPAL_COUNT, header, write_private};
use super::principals::answer_each;
use crate::Options;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median, percentile};

/// The clients, each with the environment of another service.
const CLIENT_COUNT: usize = 500;

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let mut issuer = Issuer::new()?;
    let directory = options.work.join("issuer");
    std::fs::create_dir_all(&directory)?;
    let policy = directory.join("policy.toml");
    write_private(&directory.join(KEYS_FILE), &issuer.jwks())?;
    write_private(&policy, &policy::text(PRINCIPAL_COUNT, true))?;
    let search_path = options.layout.search_path();
    let text = |address| policy::settings(address, &repository, search_path, Some(&policy), "");
    let server = Server::configured(&options.binary, &repository, text, "/livez")?;

    let (mut jwts, mut tokens) = (Vec::new(), Vec::new());
    let (mut jwt_cpu, mut token_cpu) = (Vec::new(), Vec::new());
    let seconds = |time: Duration| time.as_secs_f64();
    for round in 0..=options.rounds {
        let with_jwts =
            requests(|name| Ok(format!("Authorization: Bearer {}", issuer.sign(name)?)))?;
        let with_tokens = requests(|name| Ok(header(name)))?;
        let mut busy = [server.busy_seconds()?, 0.0, 0.0];
        // The first round makes the answers, which the further ones find.
        let last_token = answer_each(server.address, &with_tokens)?;
        busy[1] = server.busy_seconds()?;
        let last_jwt = answer_each(server.address, &with_jwts)?;
        busy[2] = server.busy_seconds()?;
        if round > 0 {
            jwts.push(seconds(last_jwt));
            tokens.push(seconds(last_token));
            token_cpu.push(busy[1] - busy[0]);
            jwt_cpu.push(busy[2] - busy[1]);
        }
    }
    let micros = |cpu: &[f64]| median(cpu) * 1e6 / CLIENT_COUNT as f64;
    Ok(vec![
        Row {
            figure: format!(
                "{CLIENT_COUNT} clients at once with new JWTs, until the last answer, s"
            ),
            must: AtMost(0.5),
            goal: AtMost(0.2),
            measured: median(&jwts),
            note: format!(
                "{:.3} to {:.3}; with tokens {:.3}",
                percentile(&jwts, 0.0),
                percentile(&jwts, 1.0),
                median(&tokens)
            ),
        },
        Row {
            figure: "the same with JWTs / with tokens, CPU for each".to_owned(),
            must: NoBound,
            goal: NoBound,
            measured: median(&jwt_cpu) / median(&token_cpu),
            note: format!("{:.0} and {:.0} us", micros(&jwt_cpu), micros(&token_cpu)),
        },
    ])
}

/// The first request of each client.
fn requests(
    mut credential: impl FnMut(&str) -> anyhow::Result<String>,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut request = |service: usize| {
        let name = repository::name(service);
        let header = credential(&name)?;
        let text = format!("GET /{name}/default HTTP/1.1\r\nHost: bench\r\n{header}\r\n\r\n");
        Ok(text.into_bytes())
    };
    (0..CLIENT_COUNT).map(&mut request).collect()
}
