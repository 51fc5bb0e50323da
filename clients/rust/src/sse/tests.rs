//! Decoding of event streams, in one piece and in many.

use proptest::prelude::*;

use super::*;

const LENGTH_MAX: usize = 1_000;

/// Decodes a text in one piece.
fn decoded(text: &[u8]) -> Result<Vec<Item>, TooLongError> {
    let mut items = Vec::new();
    Decoder::new(LENGTH_MAX).push(text, &mut items)?;
    Ok(items)
}

/// Decodes a text and compares the items: `name|id|data` for an event, a number for a retry.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let items = decoded(text.as_bytes()).unwrap();
    let shown: Vec<_> = items.iter().map(show).collect();
    assert_eq!(shown, expected, "{text:?}");
}

fn show(item: &Item) -> String {
    match item {
        Item::Retry(pause) => pause.as_millis().to_string(),
        Item::Event(Event { name, id, data, .. }) => {
            format!("{name}|{}|{data}", id.as_deref().unwrap_or("-"))
        }
    }
}

#[test]
fn fields_follow_the_standard() {
    check("event: environment\nid: r.d\ndata: {}\n\n", &["environment|r.d|{}"]);
    check("data:a\ndata:  b\ndata\n\n", &["message|-|a\n b\n"]);
    check("event: gone\ndata:\n\n", &["gone|-|"]);
    check("event: gone\ndata\n\n", &["gone|-|"]);
    check(": a comment\n\n:\n\ndata: x\n\n", &["message|-|x"]);
    check("retry: 1500\n\nretry: 1s\n\nretry:\n\n", &["1500"]);
    check("retry: 99999999999999999999999\n\n", &[]);
    check("nonsense\nunknown: field\n\n", &[]);
    check("event: nothing\n\ndata: x\n\n", &["message|-|x"]);
}

#[test]
fn all_three_line_ends_and_a_byte_order_mark_are_accepted() {
    for end in ["\n", "\r", "\r\n"] {
        let text = ["event: e", "id: 1", "data: a", "data: b", "", "data: c", "", ""].join(end);
        check(&text, &["e|1|a\nb", "message|1|c"]);
    }
    check("\u{feff}data: x\n\n", &["message|-|x"]);
    check("data: x\n\u{feff}data: y\n\n", &["message|-|x"]);
}

#[test]
fn an_id_remains_until_the_next_one_and_must_not_contain_nul() {
    check("id: 1\ndata: a\n\ndata: b\n\n", &["message|1|a", "message|1|b"]);
    check("id: 1\n\nid: 2\0\ndata: a\n\n", &["message|1|a"]);
    check("id: 1\ndata: a\n\nid\ndata: b\n\n", &["message|1|a", "message||b"]);
}

#[test]
fn an_incomplete_event_is_not_returned() {
    for text in ["data: x", "data: x\n", "data: x\r", "event: e\nid: 1\ndata: {\"a\""] {
        check(text, &[]);
    }
}

#[test]
fn the_length_limit_is_exact() {
    let line = |length: usize| format!("data:{}", "x".repeat(length - 5));
    assert_eq!(decoded(format!("{}\n\n", line(LENGTH_MAX)).as_bytes()).unwrap().len(), 1);
    assert_eq!(decoded(line(LENGTH_MAX + 1).as_bytes()), Err(TooLongError));
    assert_eq!(decoded(":".repeat(LENGTH_MAX + 1).as_bytes()), Err(TooLongError));
    assert_eq!(decoded(format!("{}\n", line(60)).repeat(30).as_bytes()), Err(TooLongError));
    // The limit applies to each event, not to the stream.
    assert_eq!(decoded("data: x\n\n".repeat(1_000).as_bytes()).unwrap().len(), 1_000);
}

#[test]
fn invalid_utf_8_is_replaced() {
    let items = decoded(b"data: a\xffb\n\n").unwrap();
    assert_eq!(items.iter().map(show).collect::<Vec<_>>(), ["message|-|a\u{fffd}b"]);
}

/// Generates streams that consist mostly of meaningful fields.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\xEF\xBB\xBF".to_vec()),
        Just(b"data: {\"a\":1}".to_vec()),
        Just(b"data".to_vec()),
        Just(b"event: environment".to_vec()),
        Just(b"id: 1.2".to_vec()),
        Just(b"id: \0".to_vec()),
        Just(b"retry: 10".to_vec()),
        Just(b":".to_vec()),
        Just("ü".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_size_of_the_pieces_does_not_matter(
        text in stream(),
        cuts in prop::collection::vec(1_usize..20, 1..50),
    ) {
        let mut decoder = Decoder::new(LENGTH_MAX);
        let (mut items, mut rest, mut at) = (Vec::new(), text.as_slice(), 0);
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            let (piece, after) = rest.split_at(cuts[at % cuts.len()].min(rest.len()));
            result = decoder.push(piece, &mut items);
            (rest, at) = (after, at + 1);
        }
        prop_assert_eq!(result.map(|()| items), decoded(&text));
    }
}

#[test]
fn the_id_of_a_trial_belongs_to_one_event() {
    let items = decoded(b"id: 1\nevent: try\ntry: d.n\ndata: {}\n\ndata: x\n\n").unwrap();
    let trials = items.iter().map(|item| match item {
        Item::Event(event) => event.trial.as_deref(),
        Item::Retry(_) => None,
    });
    assert_eq!(trials.collect::<Vec<_>>(), [Some("d.n"), None]);
}
