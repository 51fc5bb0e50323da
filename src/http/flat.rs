//! `GET [/{label}]/{application}-{profiles}.{yml,yaml,properties,json}` (specification, sections 2.3 and 4).

use actix_web::{HttpRequest, HttpResponse};

use super::error::Fault;
use super::route::Form;
use super::{Http, environment, negotiate, resolves_placeholders, watch};
use crate::access::Caller;
use crate::model::Query;
use crate::render::flat::{self, Placeholders};

pub(super) async fn get(
    request: &HttpRequest,
    http: &Http,
    caller: &Caller,
    query: &Query,
    form: Form,
) -> Result<HttpResponse, Fault> {
    let reading = watch::reader(request, http, caller, query).await?.current();
    let served = environment::served(&reading)?;
    let (placeholders, resolved) = match resolves_placeholders(request)? {
        true => (Placeholders::Resolve, "resolved"),
        false => (Placeholders::Keep, "raw"),
    };
    let (name, content_type) = match form {
        Form::Properties => ("properties", "text/plain"),
        Form::Yaml => ("yml", "text/plain"),
        Form::Json => ("json", "application/json"),
    };
    let etag = format!("W/\"{}.{name}.{resolved}\"", served.digest);
    if negotiate::has_already(request.headers(), &etag) {
        let mut response = HttpResponse::NotModified();
        environment::add_revision(&mut response, &reading);
        return Ok(response.insert_header(("ETag", etag)).finish());
    }
    let environment = served.environment.clone();
    let text = actix_web::web::block(move || match form {
        Form::Properties => flat::properties(&environment, placeholders),
        Form::Yaml => flat::yaml(&environment, placeholders),
        Form::Json => flat::json(&environment, placeholders),
    })
    .await
    .map_err(|_| crate::store::AnswerError::Overloaded)??;
    let mut response = HttpResponse::Ok();
    environment::add_revision(&mut response, &reading);
    response.insert_header(("ETag", etag)).content_type(content_type);
    Ok(response.body(text))
}
