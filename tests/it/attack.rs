//! Hostile requests and hostile content against the real binary, over bare sockets. Whatever comes in: a clear answer,
//! nothing from outside the tree, no other service harmed, and a server that is well afterwards.

mod content;
mod cve;
mod flood;
mod framing;
mod labels;
mod paths;

use crate::fixture::{Address, Repository};

const SHOP: &str = "\
//- application.yml
shared: everywhere
//- orders.yml
name: Orders
//- plain.txt
I am ${name}
//- nested/text.txt
deep
";

fn shop() -> Repository {
    Repository::new(SHOP)
}

/// The server still answers, and correctly.
#[track_caller]
fn assert_well(server: Address) {
    let environment = server.get("/orders/dev").expect(200).json();
    let sources = environment["propertySources"].as_array().expect("sources").clone();
    assert_eq!(sources[0]["source"]["name"], "Orders");
    assert_eq!(sources[1]["source"]["shared"], "everywhere");
    assert_eq!(server.get("/orders/dev/main/plain.txt").expect(200).text(), "I am Orders\n");
    server.get("/livez").expect(200);
}
