//! The least that can be done: two threads that send the same bytes to every socket. A child of its own, so that its
//! processor time can be read; told what to send on its standard input.

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};

/// Sends to all who are connected whenever a line says which mark stands in the bytes.
pub(crate) fn run(bytes: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "PORT {}", listener.local_addr()?.port())?;
    std::io::stdout().flush()?;
    let halves = [Mutex::default(), Mutex::default()];
    std::thread::scope(|scope| {
        scope.spawn(|| accept(&listener, &halves));
        // Threads that stay: what one has used is not told any more when it has ended.
        let tell = [0, 1].map(|half| {
            let (tell, told) = mpsc::channel::<Option<Vec<u8>>>();
            let half = &halves[half];
            scope.spawn(move || {
                for event in told {
                    send(half, event.as_deref());
                }
            });
            tell
        });
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let event = (line != "forget").then(|| {
                let mut event = vec![b'.'; bytes.saturating_sub(line.len())];
                event.splice(bytes / 10..bytes / 10, line.bytes());
                event
            });
            for tell in &tell {
                tell.send(event.clone())?;
            }
        }
        // Who waits for connections does not end by itself.
        std::process::exit(0)
    })
}

type Clients = Mutex<Vec<TcpStream>>;

fn accept(listener: &TcpListener, halves: &[Clients; 2]) {
    let mut request = [0; 1_024];
    for (number, stream) in listener.incoming().enumerate() {
        let Ok(mut stream) = stream else { continue };
        let asked = stream.read(&mut request).unwrap_or(0);
        // One that goes away meanwhile is missed by whoever counts.
        if request[..asked].starts_with(b"GET /ready ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            continue;
        }
        let _ = stream.set_nodelay(true);
        let _ = stream.write_all(b"watching");
        if let Ok(mut clients) = halves[number % 2].lock() {
            clients.push(stream);
        }
    }
}

/// Sends an event to a half of the clients; without one, lets go of them.
fn send(clients: &Clients, event: Option<&[u8]>) {
    let Ok(mut clients) = clients.lock() else {
        return;
    };
    match event {
        Some(event) => {
            for client in &mut *clients {
                let _ = client.write_all(event);
            }
        }
        None => clients.clear(),
    }
}
