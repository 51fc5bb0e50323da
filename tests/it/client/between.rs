//! What stands between clients and servers: it counts connections and does to each of them what it is told, or whatever
//! comes to its mind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::fixture::Address;

/// What it does with a connection.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Manner {
    /// Passes on what is said.
    Fair,
    /// Hangs up.
    Away,
    /// Any of the tricks below, by this seed; with an address, some questions go to that server in place of the right one.
    Wild(u64, Option<Address>),
}

/// What it may do to a connection.
#[derive(Clone, Copy)]
enum Trick {
    Delay,
    /// Cuts the answer after so many bytes.
    Truncate(usize),
    /// Says each piece of the answer twice.
    Duplicate,
    /// Takes the question and says nothing.
    Stall,
    Answer(&'static str),
    Other(Address),
}

const ANSWERS: [&str; 6] = [
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>sign in, please</html>",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"name\": \"cart\", \"property",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"name\":\"order\",\"propertySources\":[]}",
];

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
    let mut random: Option<fastrand::Rng> = None;
    while let Ok((client, _)) = listener.accept().await {
        state.count.fetch_add(1, Ordering::Relaxed);
        let (to, manner) = (*state.to.lock().unwrap(), *state.manner.lock().unwrap());
        let task = match manner {
            Manner::Away => continue,
            Manner::Fair => tokio::spawn(pass_on(client, to)),
            Manner::Wild(seed, other) => {
                let random = random.get_or_insert_with(|| fastrand::Rng::with_seed(seed));
                tokio::spawn(play(client, to, trick(random, other)))
            }
        };
        state.connections.lock().unwrap().push(task.abort_handle());
    }
}

fn trick(random: &mut fastrand::Rng, other: Option<Address>) -> Trick {
    match (random.u8(..7), other) {
        (0, _) => Trick::Delay,
        (1, _) => Trick::Truncate(random.usize(..2_000)),
        (2, _) => Trick::Duplicate,
        (3, _) => Trick::Stall,
        (4, Some(other)) => Trick::Other(other),
        _ => Trick::Answer(ANSWERS[random.usize(..ANSWERS.len())]),
    }
}

async fn pass_on(mut client: TcpStream, to: Address) {
    if let Ok(mut server) = TcpStream::connect(to.0).await {
        // Either side may end it whenever it likes.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

async fn play(mut client: TcpStream, to: Address, trick: Trick) {
    match trick {
        Trick::Delay => {
            sleep(Duration::from_millis(200)).await;
            pass_on(client, to).await;
        }
        Trick::Other(other) => pass_on(client, other).await,
        Trick::Stall => {
            let mut question = Vec::new();
            let _ = client.read_to_end(&mut question).await;
        }
        Trick::Answer(answer) => {
            let mut question = [0; 4096];
            let _ = client.read(&mut question).await;
            let _ = client.write_all(answer.as_bytes()).await;
        }
        Trick::Truncate(length) => {
            let _ = change(client, to, length, 1).await;
        }
        Trick::Duplicate => {
            let _ = change(client, to, usize::MAX, 2).await;
        }
    }
}

/// Passes on so many bytes of the answer, each piece so many times.
async fn change(
    client: TcpStream,
    to: Address,
    length_max: usize,
    times: usize,
) -> std::io::Result<()> {
    let server = TcpStream::connect(to.0).await?;
    let (mut questions, mut answers) = client.into_split();
    let (mut server_answers, mut server) = server.into_split();
    let passing = async move { tokio::io::copy(&mut questions, &mut server).await.map(drop) };
    let answering = async move {
        let (mut left, mut piece) = (length_max, vec![0; 16 * 1024]);
        while left > 0 {
            let length = server_answers.read(&mut piece).await?.min(left);
            if length == 0 {
                break;
            }
            for _ in 0..times {
                answers.write_all(&piece[..length]).await?;
            }
            left -= length;
        }
        Ok(())
    };
    tokio::select! {
        passed = passing => passed,
        answered = answering => answered,
    }
}
