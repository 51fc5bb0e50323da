//! Repositories as people publish them: build files, logging, templates, scripts, links and submodules beside configuration.
//! `headwater check` finds no problem in them, a hosted source accepts them by a push, and everything is served.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::fixture::{Hosted, Reply, Repository, Server, Tree, command, settings};

const PETCLINIC: &str = "\
//- README.md
# Configuration of the clinic
//- application.yml
server:
  port: 0
management: {endpoints: {web: {exposure: {include: \"*\"}}}}
//- api-gateway.yml
spring: {cloud: {gateway: {routes: []}}}
//- customers-service.yml
database: hsqldb
//- customers-service-mysql.yml
database: mysql
//- logback.xml
<configuration>
  <springProperty name=\"port\" source=\"server.port\"/>
</configuration>
//- pom.xml
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!-- built by hand -->
<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><properties><java.version>17</java.version></properties></project>
//- .github/workflows/build.yml
on: [push]
//- scripts/run.sh
#!/bin/sh
exec java -jar app.jar
";

const MONOREPO: &str = "\
//- pom.xml
<project/>
//- hazelcast.xml
<?xml version=\"1.0\"?>
<hazelcast xmlns=\"http://www.hazelcast.com/schema/config\"/>
//- config/application.properties
region=north
//- config/billing.xml
<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>
<!DOCTYPE properties SYSTEM \"http://java.sun.com/dtd/properties.dtd\">
<properties><entry key=\"name\">billing</entry></properties>
//- config/billing-prod.properties
name=billing in production
//- config/logback-spring.xml
<configuration/>
//- docs/Guide.md
a
//- docs/guide.md
b
";

const TEMPLATES: &str = "\
//- application.yml
tone: calm
//- agent.yml
interval: 10s
//- hosts.toml
hosts = [{% for host in hosts %}\"{{ host }}\",{% endfor %}]
//- telegraf.toml
[agent]
interval = {{ interval }}
//- nginx.conf.j2
server { listen {{ port }}; }
//- server.xml
<Server port=\"${port:8005}\"><Service name=\"${tone}\"/></Server>
//- report.xml
{% if rows %}<report/>{% endif %}
";

/// What `headwater check` prints of a repository that it has to accept.
#[track_caller]
fn check(place: &Path, arguments: &[&str]) -> String {
    let output = command(place).arg("check").arg(".").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Adds a submodule that nobody has.
fn add_submodule(tree: &Tree, path: &str) {
    let id = tree.git(&["rev-parse", "HEAD"]).succeeds().out;
    let entry = format!("160000,{},{path}", id.trim());
    tree.git(&["update-index", "--add", "--cacheinfo", &entry]).succeeds();
    tree.git(&["commit", "--quiet", "-m", "Submodule"]).succeeds();
}

/// Pushes a repository to a server that hosts it with these search paths, and checks it in the clone as well.
#[track_caller]
fn pushed(fixture: &str, search_paths: &[&str], more: impl FnOnce(&Tree)) -> (Hosted, String) {
    let paths = || search_paths.iter().map(|path| (*path).to_owned()).collect();
    let hosted =
        Hosted::with("//- note.txt\nx\n", |settings| settings.sources[0].search_paths = paths());
    let tree = hosted.clone("work");
    tree.commit(fixture);
    more(&tree);
    tree.push(&["main"]).succeeds().says(&["no problem"]);
    let arguments: Vec<&str> =
        search_paths.iter().flat_map(|path| ["--search-path", path]).collect();
    check(&tree.path, &arguments);
    let said = check(&tree.path, &[&arguments[..], &["--toml"]].concat());
    (hosted, said)
}

#[track_caller]
fn applications(server: &Server, expected: &[&str]) {
    let known: serde_json::Value = server.get("/-/environments").expect(200).json();
    assert_eq!(known["applications"], serde_json::json!(expected));
}

#[track_caller]
fn refused(reply: Reply, reason: &str) {
    assert!(reply.expect(500).text().contains(reason));
}

#[test]
fn build_and_logging_files_are_plain_files() {
    let (hosted, said) = pushed(PETCLINIC, &[], |_| {});
    assert_eq!(said, "");
    applications(&hosted.server, &["api-gateway", "customers-service"]);
    hosted.server.get("/customers-service/mysql").expect(200);
    let text = hosted.server.get("/customers-service/mysql/main/pom.xml").expect(200).text();
    assert!(text.contains("<java.version>17<"), "{text}");
    // As in the original, an application of that name is an error; its file is served all the same.
    refused(hosted.server.get("/pom/default"), "pom.xml: root element is not <properties>");
    refused(hosted.server.get("/logback/prod"), "logback.xml: root element is not <properties>");
    let raw = hosted.server.get("/pom/default/main/pom.xml?resolvePlaceholders=false").expect(200);
    assert!(raw.text().contains("<project"));
}

#[test]
fn links_submodules_and_names_are_judged_where_a_source_looks() {
    let (hosted, said) = pushed(MONOREPO, &["config"], |tree| {
        symlink("/etc/hostname", tree.path.join("hostname")).unwrap();
        symlink("billing.xml", tree.path.join("config/invoices.xml")).unwrap();
        symlink("../nowhere", tree.path.join("docs/nowhere.yml")).unwrap();
        tree.commit("");
        add_submodule(tree, "vendor");
    });
    let warned: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    let paths: Vec<&str> = warned.iter().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert_eq!(paths, ["docs/guide.md", "docs/nowhere.yml", "hostname", "vendor"], "{said}");
    applications(&hosted.server, &["billing"]);
    for (path, expected) in [
        ("/billing-prod.properties", "name: billing in production"),
        ("/invoices-default.properties", "name: billing"),
    ] {
        let text = hosted.server.get(path).expect(200).text();
        assert!(text.contains(expected) && text.contains("region: north"), "{path}: {text}");
    }
}

#[test]
fn templates_are_plain_files() {
    let (hosted, said) = pushed(TEMPLATES, &[], |_| {});
    assert_eq!(said, "");
    applications(&hosted.server, &["agent"]);
    let text = hosted.server.get("/agent/default/main/server.xml").expect(200).text();
    assert_eq!(text.trim(), "<Server port=\"8005\"><Service name=\"calm\"/></Server>");
    let text = hosted.server.get("/agent/default/main/telegraf.toml").expect(200).text();
    assert!(text.contains("{{ interval }}"), "{text}");
}

#[test]
fn toml_is_configuration_where_it_is_switched_on() {
    let repository = Repository::new(
        "//- orders.yml\na: yaml\n//- orders.toml\na = 1\nb = 2\n//- cart.toml\nc = [\n",
    );
    for (toml, names, lines) in
        [(None, &["orders"][..], "a: yaml"), (Some(true), &["cart", "orders"][..], "a: yaml\nb: 2")]
    {
        let mut settings = settings(&repository.uri());
        settings.sources[0].toml = toml;
        let server = Server::with(settings);
        applications(&server, names);
        let text = server.get("/orders-default.properties").expect(200).text();
        let mut sorted: Vec<&str> = text.lines().collect();
        sorted.sort_unstable();
        assert_eq!(sorted.join("\n"), lines);
        // What does not parse is served as it is, whoever asks.
        let text = server.get("/orders/default/main/cart.toml").expect(200).text();
        assert_eq!(text.trim(), "c = [");
    }
}

#[test]
fn a_hosted_repository_refuses_toml_that_does_not_parse() {
    let hosted = Hosted::new("//- orders.toml\na = 1\n");
    let tree = hosted.clone("work");
    tree.commit("//- orders.toml\na = [\n");
    tree.push(&["main"]).fails(&["orders.toml:1:6: not valid toml"]);
    tree.commit("//- orders.toml\na = {{ a }}\n");
    tree.push(&["main"])
        .fails(&["orders.toml:1:6: not valid toml; it looks like a template", "toml = false"]);
    hosted.server.get("/orders/default").expect(200);
}
