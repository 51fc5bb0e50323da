"""Customers who buy through the gateway for the whole walk.

Each customer has its own address in 127.0.0.0/8, so that the gateway distinguishes them. The walk fails when a connection ends
without an announcement of the gateway, and when a request fails.
"""

import http.client
import json
import threading
import time
from collections import Counter

# The time limit for one request, in seconds.
REQUEST_SECONDS_MAX = 20


class Connection(http.client.HTTPConnection):
    """A persistent connection. It reconnects only after the other side has announced the end of the connection."""

    def __init__(self, port, source):
        super().__init__("127.0.0.1", port, timeout=REQUEST_SECONDS_MAX, source_address=(source, 0))
        self.made_count = 0

    def connect(self):
        super().connect()
        self.made_count += 1

    def send_text(self, method, path, text, headers):
        """Sends a request. Returns the answer, whose body was read, and the body."""
        self.request(method, path, text, headers)
        answer = self.getresponse()
        return answer, answer.read()

    def ask(self, method, path, body=None, headers=None):
        """Sends a request. Returns the status and the body, parsed if it is JSON."""
        body = None if body is None else json.dumps(body)
        headers = (headers or {}) | ({"Content-Type": "application/json"} if body else {})
        answer, content = self.send_text(method, path, body, headers)
        is_json = answer.getheader("Content-Type", "").startswith("application/json")
        return answer.status, json.loads(content) if is_json else content


class Customers:
    """Four customers who buy all the time, one who pauses, and one who uses a new connection for each request."""

    def __init__(self, port):
        self.port = port
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.answers = Counter()
        self.failure = None
        self.slowest = 0.0
        self.connections = []
        people = [(self.buy, f"127.0.1.{number}", 0.08) for number in range(1, 5)]
        people += [(self.browse, "127.0.1.20", 1.5), (self.visit, "127.0.1.21", 0.15)]
        self.threads = [threading.Thread(target=self.run_customer, args=person, daemon=True) for person in people]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.over.set()
        for thread in filter(threading.Thread.is_alive, self.threads):
            thread.join(2 * REQUEST_SECONDS_MAX)

    def count(self):
        with self.lock:
            return self.answers.total()

    def reconnect_count(self):
        """Returns how often the gateway has ended a persistent connection gracefully."""
        return sum(connection.made_count - 1 for connection in self.connections)

    def run_customer(self, customer, source, pause):
        connection = self.connect(source)
        if customer != self.visit:
            self.connections.append(connection)
        try:
            while not self.over.is_set():
                customer(connection, source, pause)
        except Exception as error:
            with self.lock:
                self.failure = self.failure or f"customer {source}: {type(error).__name__}: {error}"
        finally:
            connection.close()

    def connect(self, source):
        return Connection(self.port, source)

    def ask(self, connection, pause, method, path, body=None):
        begun = time.monotonic()
        try:
            status, answer = connection.ask(method, path, body)
        except Exception as error:
            raise RuntimeError(f"{method} {path} after {time.monotonic() - begun:.3f} s: {error!r}") from error
        if status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        with self.lock:
            self.answers[f"{method} {path.split('/')[1]}"] += 1
            self.slowest = max(self.slowest, time.monotonic() - begun)
        # The pause between two requests of a customer.
        self.over.wait(pause)
        return answer

    def buy(self, connection, source, pause):
        product = self.ask(connection, pause, "GET", "/products")["products"][0]["id"]
        product = self.ask(connection, pause, "GET", f"/products/{product}")
        self.ask(connection, pause, "PUT", f"/cart/{source}/{product['id']}", {"quantity": 2})
        lines = self.ask(connection, pause, "GET", f"/cart/{source}")["lines"]
        if lines != [{"product": product["id"], "quantity": 2}]:
            raise RuntimeError(f"the cart contains {lines}")
        lines = [line | {"cents": product["cents"]} for line in lines]
        order = {"customer": source, "deliver": "express", "lines": lines}
        number = self.ask(connection, pause, "POST", "/orders", order)["number"]
        if self.ask(connection, pause, "GET", f"/orders/{number}") != order:
            raise RuntimeError(f"order {number} differs from the placed order")
        self.ask(connection, pause, "DELETE", f"/cart/{source}")

    def browse(self, connection, _, pause):
        self.ask(connection, pause, "GET", "/products")

    def visit(self, _, source, pause):
        connection = self.connect(source)
        try:
            self.ask(connection, pause, "GET", "/products/42")
        finally:
            connection.close()


class Probe:
    """Polls one address and records when its answer became the wanted one."""

    def __init__(self, ask, wanted):
        self.ask, self.wanted = ask, wanted
        self.at = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.is_set():
            if self.wanted(self.ask()):
                self.at = time.monotonic()
                return
            self.over.wait(0.004)

    def stop(self):
        self.over.set()
        self.thread.join(REQUEST_SECONDS_MAX)
