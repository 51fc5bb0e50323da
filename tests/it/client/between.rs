//! What stands between clients and servers: it counts connections and does to each of them what it is told, or whatever its
//! deck of tricks says next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::fixture::Address;

/// What it does with a connection.
#[derive(Clone)]
pub(super) enum Manner {
    /// Passes on what is said.
    Fair,
    /// Hangs up.
    Away,
    /// Keeps streams of events to itself and passes on everything else.
    EatsStreams,
    /// A trick for each connection.
    Wild(Arc<Deck>),
}

/// What a connection is opened for, by its first question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// From one who knows nothing yet.
    Get,
    /// Whether there is something else, and mostly when there will be.
    Poll,
    Stream,
    /// What became of a configuration.
    Head,
}

/// What it may do to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trick {
    /// Passes on each piece of the answer in two parts, late.
    Delay,
    /// Cuts the answer after some bytes, its head among them.
    Truncate,
    /// Cuts it within an environment.
    Tear,
    /// Says each piece of the answer twice.
    Duplicate,
    /// Takes the question and says nothing.
    Stall,
    /// Says something else: a status, a page, half an answer, another application's.
    Nonsense,
    /// Says what was right once.
    Old,
    /// Asks a server that is behind.
    Lagging,
}

const TRICKS: [Trick; 7] = [
    Trick::Delay,
    Trick::Truncate,
    Trick::Tear,
    Trick::Duplicate,
    Trick::Stall,
    Trick::Nonsense,
    Trick::Old,
];

const NONSENSE: [&str; 7] = [
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>sign in, please</html>",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"name\": \"cart\", \"property",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"name\":\"order\",\"propertySources\":[]}",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nevent: environment\nid: x.y\ndata: {\n\n",
];

/// Tricks in an order that comes from a seed: for each form of question every one of them, shuffled, over and over.
pub(super) struct Deck {
    tricks: Vec<Trick>,
    /// A whole answer that was right once.
    old: Vec<u8>,
    lagging: Option<Address>,
    state: Mutex<DeckState>,
}

struct DeckState {
    random: fastrand::Rng,
    left: BTreeMap<Form, Vec<Trick>>,
    played: BTreeMap<(Form, Trick), usize>,
}

impl Deck {
    pub(super) fn new(seed: u64, old: Vec<u8>, lagging: Option<Address>) -> Arc<Self> {
        let mut tricks = TRICKS.to_vec();
        tricks.extend(lagging.map(|_| Trick::Lagging));
        let random = fastrand::Rng::with_seed(seed);
        let state = DeckState { random, left: BTreeMap::new(), played: BTreeMap::new() };
        Arc::new(Self { tricks, old, lagging, state: Mutex::new(state) })
    }

    /// The next trick, and chance for it.
    fn draw(&self, form: Form) -> (Trick, fastrand::Rng) {
        let state = &mut *self.state.lock().unwrap();
        let left = state.left.entry(form).or_default();
        if left.is_empty() {
            left.extend(&self.tricks);
            state.random.shuffle(left);
        }
        let trick = left.pop().expect("there are tricks");
        *state.played.entry((form, trick)).or_default() += 1;
        (trick, state.random.fork())
    }

    /// What was not done to questions of this form.
    pub(super) fn left_out(&self, form: Form) -> Vec<Trick> {
        let state = self.state.lock().unwrap();
        let was_played = |trick: &&Trick| !state.played.contains_key(&(form, **trick));
        self.tricks.iter().filter(was_played).copied().collect()
    }
}

/// Ends with its runtime.
pub(super) struct Between {
    pub(super) url: String,
    state: Arc<State>,
}

struct State {
    to: Mutex<Address>,
    manner: Mutex<Manner>,
    count: AtomicUsize,
    connections: Mutex<Vec<AbortHandle>>,
}

impl Between {
    pub(super) fn start(runtime: &Runtime, to: Address, manner: Manner) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            to: Mutex::new(to),
            manner: Mutex::new(manner),
            count: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        runtime.spawn(accept(listener, Arc::clone(&state)));
        Self { url, state }
    }

    /// From now on it stands before this server.
    pub(super) fn to(&self, to: Address) {
        *self.state.to.lock().unwrap() = to;
    }

    /// What it does with connections that come from now on.
    pub(super) fn behave(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// Cuts every connection that is open.
    pub(super) fn cut(&self) {
        self.state.connections.lock().unwrap().drain(..).for_each(|open| open.abort());
    }

    /// How many connections there were.
    pub(super) fn count(&self) -> usize {
        self.state.count.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        state.count.fetch_add(1, Ordering::Relaxed);
        let to = *state.to.lock().unwrap();
        let manner = state.manner.lock().unwrap().clone();
        // Either side may end it whenever it likes.
        let task = match manner {
            Manner::Away => continue,
            Manner::Fair => tokio::spawn(async move { drop(pass_on(client, to).await) }),
            Manner::EatsStreams => tokio::spawn(async move { drop(eat(client, to).await) }),
            Manner::Wild(deck) => tokio::spawn(async move { drop(play(client, to, &deck).await) }),
        };
        state.connections.lock().unwrap().push(task.abort_handle());
    }
}

async fn pass_on(mut client: TcpStream, to: Address) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to.0).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// The head of the first question.
async fn question(client: &mut TcpStream) -> std::io::Result<(Form, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let form = match () {
        () if text.starts_with("head ") => Form::Head,
        () if text.contains("text/event-stream") => Form::Stream,
        () if text.contains("if-none-match") => Form::Poll,
        () => Form::Get,
    };
    Ok((form, head))
}

/// A connection to the server on which the question was asked.
async fn asked(to: Address, question: &[u8]) -> std::io::Result<TcpStream> {
    let mut server = TcpStream::connect(to.0).await?;
    server.write_all(question).await?;
    Ok(server)
}

async fn eat(mut client: TcpStream, to: Address) -> std::io::Result<()> {
    let (form, question) = question(&mut client).await?;
    let mut server = asked(to, &question).await?;
    if form != Form::Stream {
        return copy_bidirectional(&mut client, &mut server).await.map(drop);
    }
    let mut nowhere = tokio::io::sink();
    // Until one of them has enough of it.
    tokio::select! {
        _ = tokio::io::copy(&mut server, &mut nowhere) => {}
        _ = client.read_u8() => {}
    }
    Ok(())
}

async fn play(mut client: TcpStream, to: Address, deck: &Deck) -> std::io::Result<()> {
    let (form, question) = question(&mut client).await?;
    let (trick, mut random) = deck.draw(form);
    match trick {
        Trick::Stall => client.read_u8().await.map(drop),
        Trick::Nonsense => {
            let nonsense = NONSENSE[random.usize(..NONSENSE.len())];
            client.write_all(nonsense.as_bytes()).await
        }
        Trick::Old => client.write_all(&deck.old).await,
        Trick::Lagging => {
            let mut server = asked(deck.lagging.unwrap_or(to), &question).await?;
            copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
        Trick::Delay | Trick::Truncate | Trick::Tear | Trick::Duplicate => {
            let (server_answers, mut server) = asked(to, &question).await?.into_split();
            let (mut questions, answers) = client.into_split();
            tokio::select! {
                passed = tokio::io::copy(&mut questions, &mut server) => passed.map(drop),
                answered = distort(trick, random, server_answers, answers) => answered,
            }
        }
    }
}

/// Passes on an answer piece by piece, and not as it is.
async fn distort(
    trick: Trick,
    mut random: fastrand::Rng,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> std::io::Result<()> {
    let (mut piece, mut left) = (vec![0; 16 * 1024], random.usize(..2_000));
    // How many environments are let through.
    let mut whole = random.usize(..3);
    loop {
        let length = from.read(&mut piece).await?;
        let piece = &piece[..length];
        let somewhere = random.usize(..=length);
        match trick {
            _ if length == 0 => return Ok(()),
            Trick::Truncate if length >= left => return to.write_all(&piece[..left]).await,
            Trick::Truncate => {
                to.write_all(piece).await?;
                left -= length;
            }
            Trick::Tear => match piece.iter().position(|byte| *byte == b'{') {
                Some(begin) if whole == 0 => {
                    return to.write_all(&piece[..random.usize(begin..length)]).await;
                }
                found => {
                    to.write_all(piece).await?;
                    whole -= usize::from(found.is_some());
                }
            },
            Trick::Duplicate => {
                to.write_all(piece).await?;
                to.write_all(piece).await?;
            }
            _ => {
                for part in [&piece[..somewhere], &piece[somewhere..]] {
                    sleep(Duration::from_millis(random.u64(..150))).await;
                    to.write_all(part).await?;
                }
            }
        }
    }
}
