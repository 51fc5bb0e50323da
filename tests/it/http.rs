//! What a client sees: statuses, headers and bodies of every route, over a real connection.

mod conditional;
mod contract;
mod errors;
mod files;
mod headers;
mod held;
mod instances;
mod live;
mod own;
mod routes;
mod wire;

use crate::fixture::{Repository, Server};

/// A small repository: shared values, two services, files.
const SHOP: &str = "\
//- application.yml
shared: everywhere
//- application-prod.yml
level: quiet
//- orders.yml
name: Orders
port: 8080
url: http://${name}.example:${port}
unknown: ${nowhere}
//- orders-dev.yml
list: [one, two]
//- orders-prod.properties
pool = 16
//- cart.yml
name: Cart
//- my-app-dev.yml
dashed: true
//- plain.txt
I am ${name} of ${shared}, not \\${name}
//- plain-dev.txt
dev of ${name}
//- sub/deep/text.conf
port=${port}
//- data.json
{\"name\": \"${name}\"}
";

fn shop() -> (Repository, Server) {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    (repository, server)
}
