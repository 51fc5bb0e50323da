//! The runner, and servers that answer badly.

use std::net::SocketAddr;

use headwater_rollout::plan::{Plan, Reach, Stage, WallTime};
use headwater_rollout::state::{Phase, Rollout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

pub(super) fn target() -> CheckTarget {
    let canary = |name: &str| Canary { name: name.into(), restarts: 0 };
    let order = TargetGroup {
        canaries: vec![canary("web-1"), canary("web-2")],
        others: vec!["web-3".into(), "web-4".into()],
    };
    let cart = TargetGroup { canaries: vec![canary("cart-1")], others: vec!["cart-2".into()] };
    CheckTarget {
        rollout: "r".into(),
        number: 1,
        stage: 0,
        is_last: false,
        checks: vec!["smoke".into()],
        groups: BTreeMap::from([("order".into(), order), ("cart".into(), cart)]),
    }
}

pub(super) fn rollout(id: &str) -> Rollout {
    Rollout {
        id: id.into(),
        number: 1,
        from: "1".into(),
        to: "2".into(),
        salt: 0,
        plan: Arc::new(Plan::built_in("auto").unwrap()),
        members: BTreeMap::new(),
        phase: Phase::Stage(0),
        paused: None,
        depends_on: Default::default(),
        expected: 0,
        by: "jo".into(),
        because: None,
        opened: WallTime(0),
    }
}

fn exec(name: &str, program: &str) -> CheckDefinition {
    let rule = CheckRule { every: Duration::from_millis(1), ..CheckRule::default() };
    let kind = CheckKind::Exec { command: vec![program.to_owned()] };
    CheckDefinition { name: name.into(), rule, kind }
}

/// The answer to a request with this text and this number. `None` for a server that hangs.
type Answer = fn(&str, usize) -> Option<String>;

/// Answers each request with what a function makes of it.
async fn serve(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        for number in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            while !is_complete(&request) {
                let count = stream.read(&mut buffer).await.unwrap_or_default();
                request.push_str(&String::from_utf8_lossy(&buffer[..count]));
                if count == 0 {
                    break;
                }
            }
            match answer(&request, number) {
                // The client closes the connection when it has read enough.
                Some(text) => drop(stream.write_all(text.as_bytes()).await),
                None => kept.push(stream),
            }
        }
    });
    address
}

fn is_complete(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse::<usize>().unwrap())
}

fn ok(body: &str) -> Option<String> {
    status("200 OK", body)
}

fn status(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

fn value(value: &str) -> Option<String> {
    ok(&format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\
         \"result\":[{{\"metric\":{{}},\"value\":[1,\"{value}\"]}}]}}}}"
    ))
}

const EMPTY: &str = "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}";

fn server(address: SocketAddr, path: &str) -> Server {
    Server::new(&format!("http://{address}{path}"), None, None)
}

async fn ask(answer: Answer, question: Question) -> Result<Measurement, String> {
    let kind = CheckKind::Prometheus { server: server(serve(answer).await, "/base/"), question };
    measure(kind).await
}

async fn probe(answer: Answer) -> Result<Measurement, String> {
    measure(CheckKind::Http {
        server: server(serve(answer).await, "/{window}/{canaries}?a={others}"),
    })
    .await
}

async fn measure(kind: CheckKind) -> Result<Measurement, String> {
    let check = CheckDefinition { name: "smoke".into(), rule: CheckRule::default(), kind };
    check.measure(&target(), Duration::from_secs(90)).await
}

fn limits(query: &str) -> Question {
    Question::Limits { query: query.to_owned(), min: Some(1.0), max: Some(5.0) }
}

#[tokio::test]
async fn a_value_is_good_within_its_limits() {
    assert_eq!(ask(|_, _| value("5"), limits("up")).await, Ok(Measurement::Good));
    assert_eq!(ask(|_, _| value("1"), limits("up")).await, Ok(Measurement::Good));
    assert_eq!(ask(|_, _| value("5.1"), limits("up")).await, Ok(Measurement::Bad));
    assert_eq!(ask(|_, _| value("0"), limits("up")).await, Ok(Measurement::Bad));
    // One of the applications is bad.
    let second_is_bad = |_: &str, number| value(if number == 1 { "9" } else { "2" });
    assert_eq!(ask(second_is_bad, limits("{application}")).await, Ok(Measurement::Bad));
    let first_is_bad = |_: &str, number| value(if number == 0 { "9" } else { "2" });
    assert_eq!(ask(first_is_bad, limits("{application}")).await, Ok(Measurement::Bad));
}

#[tokio::test]
async fn a_query_is_sent_as_a_form() {
    let checked = |request: &str, _| {
        let is_expected = request.starts_with("POST /base/api/v1/query HTTP/1.1\r\n")
            && request.contains("application/x-www-form-urlencoded")
            && request.ends_with("query=x%28%28%3F%3Acart-1%7Cweb-1%7Cweb-2%29%5B90s%5D%29");
        if is_expected { value("2") } else { status("500 x", "") }
    };
    assert_eq!(ask(checked, limits("x({canaries}[{window}])")).await, Ok(Measurement::Good));
}

#[tokio::test]
async fn requests_of_both_sides_are_compared_over_all_applications() {
    let question = || Question::Errors {
        bad: "bad {application} {group}".into(),
        all: "all {application} {group}".into(),
    };
    let counts = |request: &str, _| match request.rsplit_once("query=").unwrap().1 {
        query if query.starts_with("bad%20cart%20%28%3F%3Acart-1%29") => value("1"),
        // A service without failures has no series for them.
        query if query.starts_with("bad%20cart") => ok(EMPTY),
        query if query.starts_with("all%20cart") => value("100"),
        query if query.starts_with("bad%20order%20%28%3F%3Aweb-1%7Cweb-2%29") => value("29.6"),
        query if query.starts_with("bad%20order") => value("2001"),
        _ => value("2000.2"),
    };
    let expected = Measurement::Requests { canaries: (31, 2100), others: (2000, 2100) };
    assert_eq!(ask(counts, question()).await, Ok(expected));
    let empty = ask(|_, _| ok(EMPTY), question()).await;
    assert_eq!(empty, Err("the query returns no data".into()), "there must be requests");
}

#[tokio::test]
async fn latencies_have_a_ratio() {
    let question = || Question::Latency { query: "{group}".into() };
    let ratio = |request: &str, _| value(if request.contains("web-1") { "3" } else { "2" });
    assert_eq!(ask(ratio, question()).await, Ok(Measurement::Latency { ratio: 1.5 }));
    for answer in [|_: &str, _| value("0"), |_: &str, _| value("-1")] {
        let error = ask(answer, question()).await.unwrap_err();
        assert_eq!(error, "the latencies have no ratio");
    }
}

#[tokio::test]
async fn a_prometheus_that_answers_badly_is_an_error() {
    let answers: [(Answer, &str); 8] = [
        (|_, _| ok("<html>login</html>"), "not that of a Prometheus"),
        (|_, _| status("502 x", "<html>"), "not that of a Prometheus"),
        (|_, _| value("NaN"), "no number"),
        (|_, _| value("+Inf"), "no number"),
        (|_, _| ok(EMPTY), "no data"),
        (|_, _| ok(&"x".repeat(10_000_000)), "more than 65536 bytes"),
        (
            |_, _| Some("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".into()),
            "the connection failed",
        ),
        (|_, _| Some(String::new()), "the connection failed"),
    ];
    for (answer, expected) in answers {
        let error = ask(answer, limits("up")).await.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let two = |_: &str, _| {
        let series = "{\"metric\":{},\"value\":[1,\"1\"]}";
        ok(&EMPTY.replace("[]", &format!("[{series},{series}]")))
    };
    assert!(ask(two, limits("up")).await.unwrap_err().contains("2 series"));
}

/// The time passes when nothing happens, which is always so while a server hangs.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_an_error() {
    let error = ask(|_, _| None, limits("up")).await.unwrap_err();
    assert_eq!(error, "no complete answer within 10 s");
    assert_eq!(probe(|_, _| None).await.unwrap_err(), "no complete answer within 10 s");
}

#[tokio::test]
async fn the_status_of_an_address_is_the_result() {
    let is_filled = |request: &str, _| {
        let expected = "GET /90s/cart-1,web-1,web-2?a=cart-2,web-3,web-4 HTTP/1.1\r\n";
        if request.starts_with(expected) { ok("") } else { status("500 x", "") }
    };
    assert_eq!(probe(is_filled).await, Ok(Measurement::Good));
    assert_eq!(probe(|_, _| status("404 x", "")).await, Ok(Measurement::Bad));
    for code in ["204", "302", "500", "503"] {
        let answer: Answer = match code {
            "204" => |_, _| status("204 x", ""),
            "302" => |_, _| status("302 x", ""),
            "500" => |_, _| status("500 x", ""),
            _ => |_, _| status("503 x", ""),
        };
        assert_eq!(probe(answer).await, Err(format!("status {code}")));
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = measure(CheckKind::Http { server: server(nobody, "") }).await.unwrap_err();
    assert!(error.starts_with("the connection failed"), "{error}");
}

#[tokio::test]
async fn a_token_is_read_for_each_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let answer: Answer = |request, _| {
        let has_token = request.to_ascii_lowercase().contains("authorization: bearer t-1\r\n");
        if has_token { ok("") } else { status("401 x", "") }
    };
    let address = serve(answer).await;
    let server = Server::new(&format!("http://{address}"), None, Some(file.clone()));
    let kind = CheckKind::Http { server };
    assert!(measure(kind.clone()).await.unwrap_err().starts_with("token_file: "));
    std::fs::write(&file, "t-1\n").unwrap();
    assert_eq!(measure(kind).await, Ok(Measurement::Good));
}

#[tokio::test]
async fn checks_are_measured_while_a_rollout_runs() {
    let checks = [exec("smoke", "/bin/true"), exec("other", "/bin/false")];
    let (runner, mut results) = CheckRunner::new(&checks, Handle::current());
    assert!(runner.names().map(|name| &**name).eq(["other", "smoke"]));
    assert_eq!(runner.rules()["smoke"].samples, 3);
    runner.follow(vec![target()]);
    for _ in 0..3 {
        let measured = results.recv().await.unwrap();
        assert_eq!((&*measured.rollout, &*measured.check), ("r", "smoke"));
        assert_eq!(measured.measurement, Measurement::Good);
    }
    // Another stage begins with measurements of its own.
    let next = CheckTarget { stage: 1, checks: vec!["other".into()], ..target() };
    runner.follow(vec![next]);
    while results.recv().await.unwrap().measurement != Measurement::Bad {}
    runner.follow(Vec::new());
    assert!(lock(&runner.followed).is_empty());
    drop(runner);
    // The channel ends when no measurement is left.
    while results.recv().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_check_that_was_removed_fails() {
    let (runner, mut results) = CheckRunner::new(&[], Handle::current());
    runner.follow(vec![target()]);
    let measured = results.recv().await.unwrap();
    let expected = Measurement::Failed { why: "the operator has removed the check".into() };
    assert_eq!(measured.measurement, expected);
}

#[tokio::test]
async fn the_last_stage_is_not_compared() {
    let mut check = exec("smoke", "/bin/true");
    check.rule.is_comparison = true;
    let (runner, _results) = CheckRunner::new(&[check], Handle::current());
    let tasks = |is_last| {
        runner.follow(vec![CheckTarget { is_last, stage: usize::from(is_last), ..target() }]);
        lock(&runner.followed).values().map(|own| own._tasks.len()).sum::<usize>()
    };
    assert_eq!((tasks(false), tasks(true)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_was_restarted_is_left_out_for_a_while() {
    let (runner, _results) = CheckRunner::new(&[], Handle::current());
    let mut target = target();
    let canaries = |runner: &CheckRunner, target: &CheckTarget| {
        runner.follow(vec![target.clone()]);
        let followed = lock(&runner.followed);
        let target = Arc::clone(&followed["r"].target.borrow());
        let names = target.groups["order"].canaries.iter();
        names.map(|own| own.name.to_string()).collect::<Vec<_>>()
    };
    target.groups.get_mut("order").unwrap().canaries[1].restarts = 1;
    assert_eq!(canaries(&runner, &target), ["web-1", "web-2"], "before this stage");
    target.groups.get_mut("order").unwrap().canaries[0].restarts = 1;
    assert_eq!(canaries(&runner, &target), ["web-2"]);
    tokio::time::advance(SETTLE - Duration::from_millis(2)).await;
    assert_eq!(canaries(&runner, &target), ["web-2"]);
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(canaries(&runner, &target), ["web-1", "web-2"]);
}

#[test]
fn a_target_has_the_instances_of_the_reports() {
    use headwater_rollout::evidence::{Given, Group, Report, Sighting, Standing};

    let stage = Stage { reach: Reach::All, bake: Duration::ZERO };
    let mut plan = Plan::with_stages("p", vec![stage]);
    let sighting = |name: &str, given: Option<Given>| Sighting {
        key: 1,
        name: name.into(),
        seen: 0,
        incarnation: 0,
        standing: Standing::Accepted,
        attributes: BTreeMap::new(),
        given,
    };
    let restarted = Given { restarts: 2, ..Given::default() };
    let gone = Given { is_gone: true, ..Given::default() };
    let mut listed =
        vec![sighting("a", Some(restarted)), sighting("b", None), sighting("c", Some(gone))];
    listed.extend((0..100).map(|number| sighting(&format!("d-{number}"), None)));
    let rollout = |plan: &Plan, phase| Rollout {
        number: 4,
        plan: Arc::new(plan.clone()),
        phase,
        ..rollout("r")
    };
    let report = Report {
        replica: "a".into(),
        rollout: "r".into(),
        number: 4,
        phase: Phase::Stage(0),
        applications: BTreeMap::from([("order".into(), Group { listed, ..Group::default() })]),
        is_trying: false,
        tries: Vec::new(),
    };
    let reports = [report];
    assert_eq!(CheckTarget::of(&rollout(&plan, Phase::Stage(0)), &reports), None, "no checks");
    plan.checks = vec!["smoke".into()];
    assert_eq!(CheckTarget::of(&rollout(&plan, Phase::Trying), &reports), None);
    let target = CheckTarget::of(&rollout(&plan, Phase::Stage(0)), &reports).unwrap();
    assert!(target.is_last && (target.number, target.stage) == (4, 0));
    let group = &target.groups["order"];
    assert_eq!(group.canaries, [Canary { name: "a".into(), restarts: 2 }]);
    assert_eq!((group.others.len(), &*group.others[0]), (50, "b"));
}
