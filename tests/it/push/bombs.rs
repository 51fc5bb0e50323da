//! Packs that no git makes: deltas without end, sizes that are lies, trees of a million entries.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::SHOP;
use super::refused::{command_line, post};
use crate::fixture::{Hosted, eventually};

const COMMIT: u8 = 1;
const TREE: u8 = 2;
const BLOB: u8 = 3;
const OFFSET_DELTA: u8 = 6;
const NAMED_DELTA: u8 = 7;
/// The deepest chain that git itself makes.
const CHAIN_DEPTH: usize = 4_095;
/// Longer than any of this may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pack as it is written, object after object.
struct Pack {
    bytes: Vec<u8>,
    count: u32,
}

impl Pack {
    fn new() -> Self {
        Self { bytes: Vec::new(), count: 0 }
    }

    /// Gives where the object begins, as deltas count.
    fn object(&mut self, kind: u8, size: usize, between: &[u8], data: &[u8]) -> usize {
        let begin = self.bytes.len();
        let mut rest = size >> 4;
        let more = |rest: usize| if rest > 0 { 0x80 } else { 0 };
        self.bytes.push(more(rest) | kind << 4 | (size & 15) as u8);
        while rest > 0 {
            self.bytes.push(more(rest >> 7) | (rest & 127) as u8);
            rest >>= 7;
        }
        self.bytes.extend(between);
        let mut encoder = ZlibEncoder::new(&mut self.bytes, Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap();
        self.count += 1;
        begin
    }

    fn whole(&mut self, kind: u8, data: &[u8]) -> usize {
        self.object(kind, data.len(), &[], data)
    }

    /// A delta on the object that begins at `base`.
    fn delta(&mut self, base: usize, delta: &[u8]) -> usize {
        let mut distance = self.bytes.len() - base;
        let mut between = vec![(distance & 127) as u8];
        while distance > 127 {
            distance = (distance >> 7) - 1;
            between.insert(0, 0x80 | (distance & 127) as u8);
        }
        self.object(OFFSET_DELTA, delta.len(), &between, delta)
    }

    fn finished(&self) -> Vec<u8> {
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend(self.count.to_be_bytes());
        pack.extend(&self.bytes);
        let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &pack);
        pack.extend(sum.as_ref());
        pack
    }
}

fn id(kind: &str, data: &[u8]) -> Vec<u8> {
    let object = [format!("{kind} {}\0", data.len()).as_bytes(), data].concat();
    digest(&SHA1_FOR_LEGACY_USE_ONLY, &object).as_ref().to_vec()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sizes in deltas.
fn size(mut size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = if size > 127 { 0x80 } else { 0 };
        bytes.push(more | (size & 127) as u8);
        size >>= 7;
        if size == 0 {
            return bytes;
        }
    }
}

/// Adds a commit after `old` with this tree; gives its id.
fn commit(pack: &mut Pack, tree: &[u8], old: &str) -> String {
    let who = "Ada <ada@example.org> 1700000000 +0000";
    let text =
        format!("tree {}\nparent {old}\nauthor {who}\ncommitter {who}\n\nChange\n", hex(tree));
    pack.whole(COMMIT, text.as_bytes());
    hex(&id("commit", text.as_bytes()))
}

/// The root with one file, or one directory, in it.
fn root(pack: &mut Pack, mode: &str, name: &str, entry: &[u8]) -> Vec<u8> {
    let tree = [format!("{mode} {name}\0").as_bytes(), entry].concat();
    pack.whole(TREE, &tree);
    id("tree", &tree)
}

fn push(hosted: &Hosted, old: &str, new: &str, pack: &Pack) -> String {
    let command = command_line(old, new, "refs/heads/main", "report-status side-band-64k");
    let begun = Instant::now();
    let reply = post(hosted, &[command, pack.finished()].concat(), &[]).everything();
    assert!(begun.elapsed() < PATIENCE, "{:?}: {reply}", begun.elapsed());
    reply
}

/// Whatever was sent, the next push is taken and reads go on.
fn is_unharmed(hosted: &Hosted) {
    hosted.server.get("/orders/dev").expect(200);
    let tree = hosted.clone("after");
    tree.commit("//- orders.yml\nname: After\n");
    tree.push(&["HEAD:main"]).succeeds();
}

#[test]
fn deltas_that_lie_or_lead_nowhere_are_refused() {
    let hosted = Hosted::new(SHOP);
    let old = hosted.tip("main");
    let before = hosted.contents();
    let base = b"a: 1\n";
    let copy_all = |result: u64| [size(base.len() as u64), size(result), vec![0x90, 5]].concat();
    let with = |make: &dyn Fn(&mut Pack)| {
        let mut pack = Pack::new();
        make(&mut pack);
        let tree = root(&mut pack, "100644", "orders.yml", &id("blob", base));
        let new = commit(&mut pack, &tree, &old);
        (pack, new)
    };
    for (what, (pack, new)) in [
        (
            "a result of two gigabytes",
            with(&|pack| {
                let base = pack.whole(BLOB, base);
                pack.delta(base, &copy_all(2 << 30));
            }),
        ),
        (
            "a base of another size",
            with(&|pack| {
                let base = pack.whole(BLOB, base);
                pack.delta(base, &[size(9), size(5), vec![0x90, 5]].concat());
            }),
        ),
        (
            "a copy beyond the base",
            with(&|pack| {
                let base = pack.whole(BLOB, base);
                pack.delta(base, &[size(5), size(100), vec![0x91, 200, 100]].concat());
            }),
        ),
        (
            "two deltas on each other",
            with(&|pack| {
                pack.whole(BLOB, base);
                let delta = copy_all(5);
                pack.object(NAMED_DELTA, delta.len(), &[1; 20], &delta);
                pack.object(NAMED_DELTA, delta.len(), &[2; 20], &delta);
            }),
        ),
        (
            "a delta on itself",
            with(&|pack| {
                pack.whole(BLOB, base);
                pack.object(OFFSET_DELTA, 3, &[0], &copy_all(5));
            }),
        ),
    ] {
        let reply = push(&hosted, &old, &new, &pack);
        assert!(!reply.contains("unpack ok"), "{what}: {reply}");
        assert_eq!(hosted.tip("main"), old, "{what}");
        eventually("git has cleaned up", || hosted.contents() == before);
    }
    is_unharmed(&hosted);
}

#[test]
fn a_chain_of_four_thousand_deltas_is_read_in_bounded_time() {
    let hosted = Hosted::new(SHOP);
    let old = hosted.tip("main");
    let mut pack = Pack::new();
    let begin = b"name: Chain\n";
    let mut at = pack.whole(BLOB, begin);
    for length in begin.len()..begin.len() + CHAIN_DEPTH {
        // All of the one before, and one byte more.
        let [low, high] = u16::try_from(length).unwrap().to_le_bytes();
        let (before, after) = (length as u64, length as u64 + 1);
        at = pack.delta(at, &[size(before), size(after), vec![0xb0, low, high, 1, b'#']].concat());
    }
    let text = [begin.as_slice(), &[b'#'; CHAIN_DEPTH]].concat();
    let tree = root(&mut pack, "100644", "orders.yml", &id("blob", &text));
    let new = commit(&mut pack, &tree, &old);
    let reply = push(&hosted, &old, &new, &pack);
    assert!(reply.contains("unpack ok"), "{reply}");
    assert_eq!(hosted.tip("main"), new);
    assert!(hosted.server.get("/orders/dev").expect(200).text().contains("Chain"));
}

#[test]
fn a_million_empty_directories_disturb_nobody() {
    let hosted = Hosted::new(SHOP);
    let old = hosted.tip("main");
    let mut pack = Pack::new();
    pack.whole(TREE, b"");
    let empty = id("tree", b"");
    let mut many = Vec::new();
    for number in 0..1_000_000 {
        many.extend(format!("40000 d{number:07}\0").as_bytes());
        many.extend(&empty);
    }
    pack.whole(TREE, &many);
    let tree = root(&mut pack, "40000", "many", &id("tree", &many));
    let new = commit(&mut pack, &tree, &old);
    let reply = push(&hosted, &old, &new, &pack);
    assert!(reply.contains("ng refs/heads/main"), "{reply}");
    assert_eq!(hosted.tip("main"), old);
    is_unharmed(&hosted);
}

#[test]
fn a_hundred_pushes_that_are_half_closed_leave_room_for_the_next() {
    let hosted = Hosted::new(SHOP);
    let before = hosted.contents();
    let open: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = hosted.server.connect();
            let head = "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n\
                        Content-Type: application/x-git-receive-pack-request\r\n\
                        Content-Length: 1000000\r\n\r\n0077";
            stream.write_all(head.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nname: After\n");
    eventually("the next push is taken", || tree.push(&["main"]).code == Some(0));
    drop(open);
    assert_ne!(hosted.contents(), before);
    assert!(hosted.server.get("/orders/dev").expect(200).text().contains("After"));
}
