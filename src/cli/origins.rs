//! The place of each value: file, line and column, as the command line shows it.
//!
//! A source on this machine knows the places. A server returns them in its second representation, in which each value
//! carries its line and column. The file is in the name of the property source.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_client::Client;

use super::compare::{SourceName, segment};
use crate::model::{Environment, Origin, Position, Property, PropertySource, Query};
use crate::render::Representation;

/// The place of a property, or the name of its source where the place is unknown.
pub(super) fn origin(source: &PropertySource, property: &Property) -> String {
    match &source.file {
        Some(file) => Origin { file: file.clone(), position: Some(property.position) }.to_string(),
        None => SourceName::parse(&source.name).short(),
    }
}

/// Asks the server for the places of an environment that came from it, and fills them in. A server that does not know
/// them, or that has moved to another revision meanwhile, leaves the environment as it is.
pub(super) async fn locate(
    client: &Client,
    query: &Query,
    revision: &str,
    environment: &mut Environment,
) {
    let mut path = vec![segment(&query.application), query.profiles.to_string()];
    path.extend(query.label.name().map(segment));
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let accept = [("accept", Representation::V2.content_type())];
    let Ok(answer) = client.exchange(&path, None, &accept).await else { return };
    let Ok(tracked) = serde_json::from_slice::<headwater_wire::Environment>(answer.body()) else {
        return;
    };
    if answer.status() == 200 && tracked.version.as_deref().unwrap_or_default() == revision {
        fill_in(environment, &tracked.property_sources);
    }
}

fn fill_in(environment: &mut Environment, tracked: &[headwater_wire::PropertySource]) {
    let names: Vec<&str> = environment.sources.iter().map(|source| &*source.name).collect();
    if !names.iter().copied().eq(tracked.iter().map(|source| source.name.as_str())) {
        return;
    }
    let files = files(&names);
    for ((source, tracked), file) in environment.sources.iter_mut().zip(tracked).zip(files) {
        let positions: HashMap<&str, Position> = tracked
            .source
            .iter()
            .filter_map(|(key, value)| Some((key.as_str(), position(value["origin"].as_str()?)?)))
            .collect();
        let properties = source.properties();
        if properties.iter().all(|property| positions.contains_key(&*property.key)) {
            let mut document = source.documents[source.index].clone();
            for property in &mut document.properties {
                property.position = positions[&*property.key];
            }
            source.documents = Arc::new([document]);
            source.file = Some(file.into());
        }
    }
}

/// Line and column at the end of an origin: `3:7`, or another server's `… orders.yml:3:7`.
fn position(origin: &str) -> Option<Position> {
    let mut parts = origin.rsplit(':');
    let (column, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Position { line, column })
}

/// The paths of files from the names of their property sources, without the directories that all of them share.
fn files(names: &[&str]) -> Vec<String> {
    let paths: Vec<String> = names.iter().map(|name| SourceName::parse(name).path()).collect();
    let directory = |path: &str| path.rsplit_once('/').map(|(head, _)| head.to_owned());
    // The server's own overrides are in no directory.
    let directories: Vec<String> = paths.iter().filter_map(|path| directory(path)).collect();
    let mut shared = directories.first().cloned();
    while let Some(candidate) = &shared
        && !directories.iter().all(|it| format!("{it}/").starts_with(&format!("{candidate}/")))
    {
        shared = directory(candidate);
    }
    // Paths that share only the root of the file system stay absolute.
    let shared = shared.filter(|shared| !shared.is_empty());
    let shared = shared.map_or_else(String::new, |shared| format!("{shared}/"));
    let short = |path: String| path.strip_prefix(&shared).map(str::to_owned).unwrap_or(path);
    paths.into_iter().map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_without_their_common_directory() {
        for (names, expected) in [
            (
                &["file:/srv/repo/orders.yml", "file:/srv/repo/conf/a.yml"][..],
                &["orders.yml", "conf/a.yml"][..],
            ),
            (&["https://host/x.git/orders.yml"], &["orders.yml"]),
            (&["overrides", "shop/a.yml", "shop/b/c.yml"], &["overrides", "a.yml", "b/c.yml"]),
            (&["/x/a.yml", "/y/b.yml"], &["/x/a.yml", "/y/b.yml"]),
            (&[], &[]),
            (
                &[
                    "hosted:main/orders.yml",
                    "hosted:main/Config resource 'file [/repository/conf/a.yml' via location 'conf/' (document #1)",
                ],
                &["orders.yml", "conf/a.yml"],
            ),
            (
                &[
                    "file:/srv/dir/b.yml",
                    "Config resource 'file [/srv/dir/a.yml]' via location 'file:/srv/dir/' (document #0)",
                ],
                &["b.yml", "a.yml"],
            ),
        ] {
            assert_eq!(files(names), expected);
        }
    }

    #[test]
    fn a_position_is_the_end_of_an_origin() {
        let found = |text| position(text).map(|it| (it.line, it.column));
        assert_eq!(found("3:7"), Some((3, 7)));
        assert_eq!(found("Config Server https://host/x.git/orders.yml:12:1"), Some((12, 1)));
        for text in ["", "3", "Config server overrides", "a:3", "3:a"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
