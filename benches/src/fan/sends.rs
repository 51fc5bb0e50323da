//! The least that can be done: two threads that send the same bytes to every socket. A child of its own, so that its
//! processor time can be read; told what to send on its standard input.

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use anyhow::bail;

/// Sends to all who are connected whenever a line says which mark stands in the bytes.
pub(crate) fn run(bytes: usize) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "PORT {}", listener.local_addr()?.port())?;
    std::io::stdout().flush()?;
    let clients = Mutex::new(Vec::<TcpStream>::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut request = [0; 1_024];
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let asked = stream.read(&mut request).unwrap_or(0);
                if request[..asked].starts_with(b"GET /ready ") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    continue;
                }
                let _ = stream.set_nodelay(true);
                let _ = stream.write_all(b"watching");
                if let Ok(mut clients) = clients.lock() {
                    clients.push(stream);
                }
            }
        });
        for line in std::io::stdin().lock().lines() {
            let (line, Ok(mut clients)) = (line?, clients.lock()) else {
                bail!("a thread panicked");
            };
            if line == "forget" {
                clients.clear();
                continue;
            }
            let mut event = vec![b'.'; bytes.saturating_sub(line.len())];
            event.splice(bytes / 10..bytes / 10, line.bytes());
            let half = clients.len() / 2;
            let (one, other) = clients.split_at_mut(half);
            std::thread::scope(|scope| {
                scope.spawn(|| send(one, &event));
                send(other, &event);
            });
        }
        // Who waits for connections does not end by itself.
        std::process::exit(0)
    })
}

fn send(clients: &mut [TcpStream], event: &[u8]) {
    for client in clients {
        // One that has gone is missed by whoever counts.
        let _ = client.write_all(event);
    }
}
