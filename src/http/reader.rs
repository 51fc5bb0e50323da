//! The instance that a request speaks for, which decides the side of an application that a rollout holds.

use actix_http::header::HeaderMap;
use actix_web::HttpResponseBuilder;
use headwater_wire::headers;

use super::instances::INSTANCE;
use crate::fleet;
use crate::model::{InstanceKey, Query};

/// Returns the instance of a request for an environment. None without a valid name.
pub(super) fn instance(headers: &HeaderMap, query: &Query) -> Option<InstanceKey> {
    let name = headers.get(INSTANCE)?.to_str().ok().filter(|name| fleet::is_name(name))?;
    Some(InstanceKey::new(query, name))
}

/// Adds the header `Vary`. The answer to a request that speaks for an instance depends on that instance.
pub(super) fn add_vary(response: &mut HttpResponseBuilder, headers: &HeaderMap, varies: &str) {
    let vary = match (headers.contains_key(INSTANCE), varies) {
        (false, "") => return,
        (false, varies) => varies.to_owned(),
        (true, "") => INSTANCE_NAME.to_owned(),
        (true, varies) => format!("{varies}, {INSTANCE_NAME}"),
    };
    response.insert_header(("Vary", vary));
}

/// The name of the header, as `Vary` shows it.
pub(super) const INSTANCE_NAME: &str = "Headwater-Instance";

/// The header with the rollout that holds the application of an answer.
pub(super) const ROLLOUT: &str = headers::ROLLOUT;
