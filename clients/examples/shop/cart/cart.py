#!/usr/bin/env python3
"""The carts of the shop.

`PUT /{customer}/{product}` puts a quantity in, `GET /{customer}` shows the cart, `DELETE /{customer}` empties it, and
`GET /health` says how the service and its configuration are.
"""

import json
import logging
import signal
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from headwater import Configuration

# Longer than the gateway keeps an idle connection, so that it is never closed under a request; in seconds.
KEEP_ALIVE = 75
# How long it goes on when it is told to end, so that the gateway, which looks every second, sends nothing any more; in seconds.
LEAVE = 3
# For requests under way when it is told to end, and for another instance that writes; in seconds.
PATIENCE = 5
BODY_BYTES_MAX = 4096

SCHEMA = """
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = normal;
    CREATE TABLE IF NOT EXISTS line (customer TEXT, product INTEGER, quantity INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (customer, product));
"""


class Settings(NamedTuple):
    """What the service is configured with. Port and database count when it starts, the rest whenever it changes."""

    port: int
    database: str
    lines_max: int
    expiry_seconds: int
    greeting: str


def settings(text):
    """Settings as they should be; those that are not are not taken, and the service goes on with those of before."""
    scheme, _, path = text("cart.database.url").partition(":")
    if scheme != "sqlite":
        raise ValueError("cart.database.url does not begin with sqlite:")
    found = Settings(
        port=int(text("server.port")),
        database=path,
        lines_max=int(text("cart.lines.max")),
        expiry_seconds=60 * int(text("cart.expiry-minutes")),
        greeting=text("cart.greeting"),
    )
    if found.lines_max < 1 or found.expiry_seconds < 1:
        raise ValueError("a cart holds something, for a while")
    return found


class Carts:
    """What is in them. One connection, for one request after the other; other instances have theirs."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
        self.database.executescript(SCHEMA)
        self.lock = threading.Lock()

    def show(self, customer, now):
        select = "SELECT product, quantity FROM line WHERE customer = ? AND at > ? ORDER BY product"
        with self.lock:
            rows = self.database.execute(select, (customer, time.time() - now.expiry_seconds)).fetchall()
        return [{"product": product, "quantity": quantity} for product, quantity in rows]

    def put(self, customer, product, quantity, now):
        """Whether there was room."""
        with self.lock, self.database as database:
            database.execute("DELETE FROM line WHERE at <= ?", (time.time() - now.expiry_seconds,))
            count = "SELECT count(*) FROM line WHERE customer = ? AND product <> ?"
            if database.execute(count, (customer, product)).fetchone()[0] >= now.lines_max:
                return False
            database.execute("REPLACE INTO line VALUES (?, ?, ?, ?)", (customer, product, quantity, time.time()))
            return True

    def empty(self, customer):
        with self.lock, self.database as database:
            database.execute("DELETE FROM line WHERE customer = ?", (customer,))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = KEEP_ALIVE
    # Head and body leave together.
    wbufsize = 64 * 1024

    def do_GET(self):
        if self.path == "/health":
            leaves = self.server.is_ending
            return self.answer(503 if leaves else 200, health(self.server.configuration, leaves))
        now = self.server.configuration.current
        lines = self.server.carts.show(self.path[1:], now)
        self.answer(200, {"greeting": now.greeting, "lines": lines})

    def do_PUT(self):
        now = self.server.configuration.current
        try:
            _, customer, product = self.path.split("/")
            length = min(int(self.headers["Content-Length"]), BODY_BYTES_MAX)
            quantity = int(json.loads(self.rfile.read(length))["quantity"])
            put = self.server.carts.put(customer, int(product), quantity, now)
        except (ValueError, KeyError, TypeError):
            self.close_connection = True
            return self.answer(400, {"error": "a quantity of a product is wanted"})
        self.answer(200, {"lines_max": now.lines_max}) if put else self.answer(409, {"error": "the cart is full"})

    def do_DELETE(self):
        self.server.carts.empty(self.path[1:])
        self.answer(200, {})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection or self.server.is_ending:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def handle_one_request(self):
        super().handle_one_request()
        with self.server.idle:
            self.server.busy.discard(self)
            self.server.idle.notify_all()

    def parse_request(self):
        with self.server.idle:
            self.server.busy.add(self)
        return super().parse_request()

    def log_message(self, *_):
        """The gateway sees who asks for what."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, configuration):
        self.configuration = configuration
        self.carts = Carts(configuration.current.database)
        self.is_ending = False
        self.busy, self.idle = set(), threading.Condition()
        super().__init__(("127.0.0.1", configuration.current.port), Handler)

    def end(self, *_):
        """Says so in its health, and ends after a while."""
        self.is_ending = True
        threading.Timer(LEAVE, self.shutdown).start()

    def serve(self):
        self.serve_forever(poll_interval=0.1)
        self.server_close()
        with self.idle:
            self.idle.wait_for(lambda: not self.busy, PATIENCE)


def health(configuration, leaves):
    """Neither a stale configuration nor a rejected one is a reason to take the service away: it works with what it had."""
    return {
        "status": "OUT_OF_SERVICE" if leaves else "UP",
        "configuration": {
            "state": configuration.state,
            "revision": configuration.revision(),
            "change_count": configuration.change_count,
            "rejection": configuration.rejection,
        },
    }


def main():
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    configuration = Configuration(settings)
    configuration.start()
    server = Server(configuration)
    signal.signal(signal.SIGTERM, server.end)
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
