"""Tests of `headwater.py` against a scripted server, for answers that do not occur in the walk."""

import json
import os
import queue
import stat
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import headwater

PATIENCE = 20


def environment(limit, version="1"):
    sources = [{"name": "own", "source": {"limit": limit}}]
    return {"name": "cart", "profiles": ["prod"], "version": version, "propertySources": sources}


class Server(ThreadingHTTPServer):
    """Answers each GET with the result of `answer` for its headers, and records all requests."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.requests, self.outcomes = answer, queue.Queue(), queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.server.outcomes.put(self.headers["Headwater-Applied"])
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.server.requests.put((self.path, dict(self.headers)))
        status, headers, body = self.server.answer(self.headers)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def json_answer(limit, revision):
    headers = {"Content-Type": "application/json", "ETag": f'W/"d{limit}.v1"', "Headwater-Revision": revision}
    return 200, headers, json.dumps(environment(limit))


def event(limit, revision):
    return f"event: environment\nid: {revision}.d{limit}\ndata: {json.dumps(environment(limit))}\n\n"


STREAM = {"Content-Type": "text/event-stream"}


class Follows(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(self.place.cleanup)

    def server(self, answer):
        server = Server(answer)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def configuration(self, *urls):
        os.environ |= {
            "HEADWATER_URL": ",".join(urls),
            "HEADWATER_APPLICATION": "cart",
            "HEADWATER_PROFILES": "prod",
            "HEADWATER_LAST_KNOWN_GOOD": f"{self.place.name}/copy",
        }
        self.taken = queue.Queue()

        def accept(text):
            limit = int(text("limit"))
            self.taken.put(limit)
            if limit > 100:
                raise ValueError("too much")
            return limit

        return headwater.Configuration(accept)

    def takes(self, *limits):
        self.assertEqual([self.taken.get(timeout=PATIENCE) for _ in limits], list(limits))

    def test_uses_long_polls_without_streams(self):
        answers = iter([json_answer(1, "a"), json_answer(1, "a"), json_answer(2, "b")])
        server = self.server(lambda _: next(answers, (304, {}, "")))
        configuration = self.configuration(server.url)
        configuration.start()
        self.takes(1, 2)
        requests = [server.requests.get(timeout=PATIENCE)[1] for _ in range(3)]
        self.assertEqual(requests[0]["Accept"], "text/event-stream")
        self.assertEqual(requests[1]["Prefer"], "wait=25")
        self.assertEqual(requests[2]["If-None-Match"], 'W/"d1.v1"')
        self.assertEqual(requests[2]["Headwater-Min-Revision"], "a")
        self.assertEqual([server.outcomes.get(timeout=PATIENCE) for _ in range(2)], ["a.d1 ok", "b.d2 ok"])

    def test_resumes_after_the_last_complete_event(self):
        cut = event(1, "a") + event(2, "b").rstrip("\n")
        answers = iter([(200, STREAM, cut), (200, STREAM, event(2, "b"))])
        server = self.server(lambda _: next(answers, (503, {}, "")))
        self.configuration(server.url).start()
        self.takes(1, 2)
        server.requests.get(timeout=PATIENCE)
        self.assertEqual(server.requests.get(timeout=PATIENCE)[1]["Last-Event-ID"], "a.d1")

    def test_skips_a_server_that_is_behind_and_starts_again_when_all_are(self):
        answers = iter([(200, STREAM, event(1, "a"))])
        behind = lambda headers: (503, {"Headwater-Revision": "0"}, "") if "Last-Event-ID" in headers else None
        server = self.server(lambda headers: next(answers, None) or behind(headers) or (200, STREAM, event(2, "0")))
        self.configuration(server.url).start()
        self.takes(1, 2)

    def test_reads_the_token_again_for_each_request(self):
        path = f"{self.place.name}/token"
        os.environ["HEADWATER_TOKEN_FILE"] = path
        self.addCleanup(os.environ.pop, "HEADWATER_TOKEN_FILE")

        def answer(_):
            with open(path, "w") as file:
                file.write("second\n")
            return 200, STREAM, event(1, "a")

        with open(path, "w") as file:
            file.write("first\n")
        server = self.server(answer)
        self.configuration(server.url).start()
        self.takes(1)
        tokens = [server.requests.get(timeout=PATIENCE)[1]["Authorization"] for _ in range(2)]
        self.assertEqual(tokens, ["Bearer first", "Bearer second"])

    def test_reports_a_rejection(self):
        answers = iter([(200, STREAM, event(1, "a") + event(500, "b"))])
        server = self.server(lambda _: next(answers, (503, {}, "")))
        configuration = self.configuration(server.url)
        configuration.start()
        self.takes(1, 500)
        self.assertEqual([server.outcomes.get(timeout=PATIENCE) for _ in range(2)], ["a.d1 ok", "b.d500 rejected"])
        self.assertEqual((configuration.current, configuration.rejection), (1, "too much"))

    def test_starts_from_a_copy_that_only_its_user_can_access(self):
        server = self.server(lambda _: (200, STREAM, event(1, "a")))
        self.configuration(server.url).start()
        server.shutdown()
        server.server_close()
        [copy] = os.listdir(f"{self.place.name}/copy")
        copy = f"{self.place.name}/copy/{copy}"
        self.assertEqual(stat.S_IMODE(os.stat(copy).st_mode), 0o600)
        configuration = self.configuration(server.url)
        configuration.start()
        self.assertEqual((configuration.current, configuration.state, configuration.revision()), (1, "stale", "a"))
        os.chmod(copy, 0o644)
        configuration = self.configuration(server.url)
        configuration._load_copy()
        self.assertIsNone(configuration.current)


class Reads(unittest.TestCase):
    def test_replaces_lists_as_a_whole_and_resolves_placeholders(self):
        sources = [
            {"name": "own", "source": {"pay[0]": "card", "greeting": "Hello ${shop.name}${mark:!}"}},
            {"name": "all", "source": {"pay[0]": "cash", "pay[1]": "gold", "shop.name": "${place:Lake} Books", "n": 3}},
        ]
        text = headwater.reader({"propertySources": sources})
        self.assertEqual((text("greeting"), text("pay[0]"), text("n")), ("Hello Lake Books!", "card", "3"))
        with self.assertRaises(KeyError):
            text("pay[1]")
        sources[0]["source"]["greeting"] = "${missing}"
        with self.assertRaises(KeyError):
            headwater.reader({"propertySources": sources})("greeting")


if __name__ == "__main__":
    unittest.main()
