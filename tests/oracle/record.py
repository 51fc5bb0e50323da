#!/usr/bin/env python3
"""Records what the real Spring Cloud Config Server answers to the requests in cases/.

usage: record.py [--out DIR] [--check] [--only SETUP]... [--keep] [--verbose]
       record.py --serve SETUP

Without options the answers are written to recorded/. --check records into memory, compares with
recorded/, prints every difference and ends with status 1 if there is one. --serve starts the real
server of one setup, prints `PORT <n>` and goes on until its standard input ends. The setup
`clients` is recorded by running the real clients (tests/clients) instead of single requests.
The formats are described in README.md. Needs git, Java 17 and the Maven project here (built on
demand); `clients` needs what scripts/install-test-deps.sh installs.
"""

import argparse
import base64
import difflib
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE / "cases"
RECORDED = HERE / "recorded"

# Every commit of every fixture: number n (from 0, in file order) is made at EPOCH + 60 * n seconds.
WHO = "Headwater Fixture <fixture@headwater.invalid>"
EPOCH = 1_700_000_000


# ---------------------------------------------------------------- fixtures

def parse_fixture(text):
    """A list of steps: ("branch", name), ("tag", name), ("annotated-tag", name, message),
    ("commit", message, [(path, flags, lines)])."""
    steps, files, current = [], None, None
    for line in text.split("\n")[:-1]:
        if line.startswith("//# ") and not steps:
            continue
        if line.startswith("//= "):
            word, _, rest = line[4:].partition(" ")
            current = None
            if word == "commit":
                files = []
                steps.append(("commit", rest, files))
            elif word == "annotated-tag":
                name, _, message = rest.partition(" ")
                steps.append((word, name, message))
            elif word in ("branch", "tag"):
                steps.append((word, rest))
            else:
                raise ValueError("unknown directive: " + line)
        elif line.startswith("//- "):
            words = line[4:].split(" ")
            flags = []
            while len(words) > 1 and words[-1] in ("base64", "crlf", "latin-1", "no-newline", "symlink", "delete"):
                flags.append(words.pop())
            current = []
            files.append((" ".join(words), flags, current))
        elif current is not None:
            current.append(line)
        elif line:
            raise ValueError("text outside of a file: " + line)
    return steps


def content(flags, lines):
    if "base64" in flags:
        return base64.b64decode("".join(lines))
    if "symlink" in flags:
        return "\n".join(lines).encode("utf-8")
    text = "".join(line + "\n" for line in lines)
    if "no-newline" in flags and text:
        text = text[:-1]
    if "crlf" in flags:
        text = text.replace("\n", "\r\n")
    return text.encode("latin-1" if "latin-1" in flags else "utf-8")


def build(fixture, bare):
    """Makes the bare repository of a fixture."""
    steps = parse_fixture((CASES / (fixture + ".repo")).read_bytes().decode("utf-8"))
    stream = []
    tips = {}
    first = branch = None
    marks = 0

    def data(payload):
        stream.append(b"data %d\n" % len(payload) + payload + b"\n")

    def put(text):
        stream.append(text.encode("utf-8") + b"\n")

    for step in steps:
        when = "%s %d +0000" % (WHO, EPOCH + 60 * (marks if step[0] == "commit" else marks - 1))
        if step[0] == "branch":
            name = step[1]
            if name not in tips and branch in tips:
                tips[name] = tips[branch]
                put("reset refs/heads/%s\nfrom :%d\n" % (name, tips[name]))
            branch = name
        elif step[0] == "tag":
            put("reset refs/tags/%s\nfrom :%d\n" % (step[1], tips[branch]))
        elif step[0] == "annotated-tag":
            put("tag %s\nfrom :%d\ntagger %s" % (step[1], tips[branch], when))
            data((step[2] + "\n").encode("utf-8"))
        else:
            branch = branch or "main"
            marks += 1
            put("commit refs/heads/%s\nmark :%d\nauthor %s\ncommitter %s" % (branch, marks, when, when))
            data((step[1] + "\n").encode("utf-8"))
            if branch in tips:
                put("from :%d" % tips[branch])
            tips[branch] = marks
            for path, flags, lines in step[2]:
                quoted = '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
                if "delete" in flags:
                    put("D " + quoted)
                else:
                    put("M %s inline %s" % ("120000" if "symlink" in flags else "100644", quoted))
                    data(content(flags, lines))
        first = first or branch
    git("init", "-q", "--bare", "--initial-branch=" + first, str(bare))
    subprocess.run(["git", "fast-import", "--quiet"], cwd=bare, input=b"".join(stream), check=True, env=environment())


def environment():
    keep = {name: os.environ[name] for name in ("PATH", "JAVA_HOME", "TMPDIR") if name in os.environ}
    return dict(keep, HOME=str(WORK), XDG_CONFIG_HOME=str(WORK), LANG="C.UTF-8", LC_ALL="C.UTF-8", TZ="UTC",
                GIT_CONFIG_NOSYSTEM="1")


def git(*arguments, cwd=None):
    run = subprocess.run(["git", *arguments], cwd=cwd, env=environment(), check=True, capture_output=True)
    return run.stdout.decode("utf-8").strip()


# ---------------------------------------------------------------- server settings

def spring_arguments(server, place):
    """The neutral settings of a case file as Spring's own. place(fixture) is its directory."""
    out = []
    prefix = "spring.cloud.config.server."

    def put(name, value):
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, list):
            for number, item in enumerate(value):
                put("%s[%d]" % (name, number), item)
        else:
            out.append("--%s=%s" % (name, value))

    def source(at, settings):
        if settings["kind"] == "git":
            put(at + "uri", "file://" + place(settings["fixture"]))
            for ours, theirs in (("search_paths", "search-paths"), ("default_label", "default-label"),
                                 ("try_master_branch", "try-master-branch"), ("order", "order"), ("pattern", "pattern")):
                if ours in settings:
                    put(at + theirs, settings[ours])
            for repo in settings.get("repos", []):
                source(at + "repos." + repo["name"] + ".", dict(repo, kind="git"))
        else:
            put(at + "search-locations", ["file:" + place(settings["fixture"]) + "/" + suffix for suffix in settings.get("locations", [""])])
            for ours, theirs in (("default_label", "default-label"), ("add_label_locations", "add-label-locations"),
                                 ("version", "version"), ("order", "order")):
                if ours in settings:
                    put(at + theirs, settings[ours])

    sources = server["sources"]
    if len(sources) == 1 and not server.get("composite"):
        if sources[0]["kind"] == "native":
            put("spring.profiles.active", "native")
        source(prefix + sources[0]["kind"] + ".", sources[0])
    else:
        put("spring.profiles.active", "composite")
        for number, settings in enumerate(sources):
            put(prefix + "composite[%d].type" % number, settings["kind"])
            source(prefix + "composite[%d]." % number, settings)
    for ours, theirs in (("accept_empty", "accept-empty"), ("prefix", "prefix"), ("fail_on_composite_error", "fail-on-composite-error"),
                         ("reverse_location_order", "reverse-location-order"), ("strip_document", "strip-document-from-yaml"),
                         ("decrypt", "encrypt.enabled")):
        if ours in server:
            put(prefix + theirs, server[ours])
    for key, value in server.get("overrides", {}).items():
        put(prefix + "overrides." + key, value)
    health = server.get("health")
    if health is not None:
        put("management.endpoint.health.show-details", "always")
        put("management.health.defaults.enabled", False)
        put("management.health.config.enabled", True)
        for key, settings in health.items():
            for name, value in settings.items():
                put(prefix + "health.repositories.%s.%s" % (key, name), value)
    return out


class Servers:
    """One Java process, one server at a time in it."""

    def __init__(self):
        classes = HERE / "target" / "classes" / "oracle" / "ConfigServer.class"
        if not classes.exists():
            subprocess.run(["mvn", "-q", "-B", "package"], cwd=HERE, check=True)
        empty = WORK / "cwd"
        empty.mkdir()
        self.log = WORK / "server.log"
        path = "%s:%s" % (HERE / "target" / "classes", HERE / "target" / "lib" / "*")
        self.process = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Duser.home=" + str(WORK), "-cp", path, "oracle.ConfigServer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("wb"), cwd=empty, env=environment())

    def start(self, arguments):
        self.process.stdin.write(json.dumps(arguments).encode("utf-8") + b"\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            word, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if word == "PORT":
                return int(rest)
            if word == "FAILED":
                raise RuntimeError("the server did not start: " + rest)
        raise RuntimeError("the server ended:\n" + self.log.read_text(errors="replace")[-4000:])

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


# ---------------------------------------------------------------- requests

HEADERS = ("content-type", "content-disposition", "allow", "accept", "accept-patch", "etag", "vary", "cache-control",
           "www-authenticate", "location")
PRESENT = ("content-length", "last-modified")


def ask(port, request, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(request.get("method", "GET"), path, skip_accept_encoding=True)
        body = request.get("body", "").encode("utf-8")
        for name, value in request.get("headers", {}).items():
            connection.putheader(name, value)
        if body or request.get("method") in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Connection", "close")
        connection.endheaders(body or None)
        response = connection.getresponse()
        payload = response.read()
    finally:
        connection.close()
    answer = {}
    for name in HEADERS:
        values = response.headers.get_all(name)
        if values is not None:
            answer[name] = ", ".join(values)
    if "accept" in answer:  # Spring's order changes from run to run
        answer["accept"] = ", ".join(sorted(answer["accept"].split(", ")))
    for name in PRESENT:
        if response.headers.get(name) is not None:
            answer[name] = "present"
    return response.status, answer, payload


def tokens(text, base):
    root = str(base)
    for pattern, token in (("file://" + root, "URI"), (root, "DIR")):
        text = re.sub(re.escape(pattern) + r"/([a-z]+)", r"{{%s:\1}}" % token, text)
    text = re.sub(re.escape(str(WORK / "origin")) + r"/([a-z]+)\.git", r"{{ORIGIN:\1}}", text)
    text = re.sub(r'"timestamp":"[^"]*"', '"timestamp":"{{TIME}}"', text)
    text = re.sub(r"(?m)^timestamp: \d+$", "timestamp: {{TIME}}", text)
    text = re.sub(r"(<div id='created'>)[^<]*", r"\1{{TIME}}", text)
    return re.sub(r"\[B@[0-9a-f]+", "[B@{{ID}}", text)


def prepare(setup, servers):
    """Fresh working trees and a server of its own for a setup."""
    cases = json.loads((CASES / (setup + ".json")).read_text(encoding="utf-8"))
    base = WORK / setup
    base.mkdir()
    native = {s["fixture"] for s in cases["server"]["sources"] if s["kind"] == "native"}
    commits = {}
    for name in cases["fixtures"]:
        bare = WORK / "origin" / (name + ".git")
        if not bare.exists():
            build(name, bare)
        git("clone", "-q", str(bare), str(base / name))
        references = git("for-each-ref", "--format=%(refname:short) %(objectname) %(*objectname)", "refs/heads", "refs/tags", cwd=bare)
        commits[name] = {line.split(" ")[0]: line.split()[-1] for line in references.splitlines()}
        if name in native:
            shutil.rmtree(base / name / ".git")
    port = servers.start(spring_arguments(cases["server"], lambda name: str(base / name)))
    return cases, base, commits, port


def record(setup, servers, options):
    cases, base, commits, port = prepare(setup, servers)
    names = cases["fixtures"]
    if setup == "clients":
        runs = []
        for case in json.loads((HERE.parent / "clients" / "cases.json").read_text(encoding="utf-8")):
            code, out, error = run_client(case, port)
            if options.verbose:
                print(case["id"], code, error, file=sys.stderr)
            runs.append(dict(case, exit=code, output=json.loads(tokens(out, base)) if out else None))
        return {"setup": setup, "server": cases["server"], "fixtures": names, "commits": commits, "exchanges": runs}
    exchanges = []
    seen = set()
    for request in cases["requests"]:
        if request["id"] in seen:
            raise ValueError("%s: id %s occurs twice" % (setup, request["id"]))
        seen.add(request["id"])

        def revision(match):
            found = commits[names[0]][match.group(1)]
            return found[:int(match.group(2))] if match.group(2) else found

        path = re.sub(r"\{\{([^{}:]+)(?::(\d+))?\}\}", revision, request["path"])
        began = time.monotonic()
        try:
            status, answer, payload = ask(port, request, path)
        except OSError as error:
            raise RuntimeError("%s: %s %s: no answer (%s)" % (setup, request["id"], path, error)) from error
        if options.verbose:
            print("%5.0f ms  %s %s %s" % ((time.monotonic() - began) * 1000, setup, request["id"], path), file=sys.stderr)
        exchange = {"id": request["id"], "method": request.get("method", "GET"), "path": path, "headers": request.get("headers", {})}
        if "body" in request:
            exchange["request_body"] = request["body"]
        exchange.update(status=status, answer=answer)
        try:
            exchange["body"] = tokens(payload.decode("utf-8"), base)
        except UnicodeDecodeError:
            exchange["body_base64"] = base64.b64encode(payload).decode("ascii")
        exchanges.append(exchange)
    return {"setup": setup, "server": cases["server"], "fixtures": names, "commits": commits, "exchanges": exchanges}


def run_client(case, port):
    """Runs one real client; the answer is its exit code and the JSON line it printed."""
    endpoint = "http://127.0.0.1:%d" % port
    clients, venv = HERE.parent / "clients", HERE.parent.parent / "target" / "test-deps" / "venv"
    label = case.get("label")
    if case["client"] == "spring-boot":
        target = clients / "spring-boot" / "target"
        command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "%s:%s" % (target / "classes", target / "lib" / "*"),
                   "client.ConfigClient", "--spring.config.import=configserver:" + endpoint,
                   "--spring.application.name=" + case["name"], "--show=" + case["keys"]]
        command += ["--spring.profiles.active=" + case["profiles"]] if case["profiles"] else []
        command += ["--spring.cloud.config.label=" + label] if label else []
        command += case.get("arguments", [])
    else:
        command = {"node": ["node", str(clients / "node" / "show.js")], "python": [str(venv / "bin" / "python"), str(clients / "python" / "show.py")]}[case["client"]]
        command += [endpoint, case["name"], case["profiles"], label or "-", case["keys"]]
    run = subprocess.run(command, capture_output=True, env=environment(), cwd=WORK / "cwd")
    return run.returncode, run.stdout.decode("utf-8"), run.stderr.decode("utf-8", "replace")


def write(recorded):
    """One exchange per line: differences stay readable."""
    out = ["{"]
    for key, value in recorded.items():
        if key != "exchanges":
            out.append(" %s: %s," % (json.dumps(key), json.dumps(value, ensure_ascii=False)))
    out.append(' "exchanges": [')
    exchanges = recorded["exchanges"]
    for number, exchange in enumerate(exchanges):
        out.append("  " + json.dumps(exchange, ensure_ascii=False) + ("," if number + 1 < len(exchanges) else ""))
    return "\n".join(out + [" ]", "}", ""])


def main():
    global WORK
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=RECORDED)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", action="append", metavar="SETUP")
    parser.add_argument("--keep", action="store_true", help="leave the temporary directory behind and print it")
    parser.add_argument("--serve", metavar="SETUP")
    parser.add_argument("--verbose", action="store_true", help="print the time of every request")
    options = parser.parse_args()
    WORK = pathlib.Path(tempfile.mkdtemp(prefix="oracle-")).resolve()
    setups = options.only or sorted(path.stem for path in CASES.glob("*.json"))
    different = total = 0
    servers = None
    try:
        servers = Servers()
        if options.serve:
            print("PORT", prepare(options.serve, servers)[3], flush=True)
            sys.stdin.read()
            return
        for setup in setups:
            recorded = record(setup, servers, options)
            total += len(recorded["exchanges"])
            text = write(recorded)
            target = (RECORDED if options.check else options.out) / (setup + ".json")
            if options.check:
                old = target.read_text(encoding="utf-8") if target.exists() else ""
                if old != text:
                    different += 1
                    sys.stdout.writelines(difflib.unified_diff(
                        old.splitlines(True), text.splitlines(True), "recorded/%s.json" % setup, "now", n=0))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8", newline="\n")
    finally:
        if servers:
            servers.stop()
        if options.keep:
            print("kept", WORK, file=sys.stderr)
        else:
            shutil.rmtree(WORK, ignore_errors=True)
    if options.check:
        stale = [] if options.only else [p.stem for p in RECORDED.glob("*.json") if p.stem not in setups]
        for setup in stale:
            print("recorded/%s.json has no cases" % setup)
        print("%d requests in %d setups: %d setups differ" % (total, len(setups), different))
        sys.exit(1 if different or stale else 0)
    print("%d requests in %d setups recorded in %s" % (total, len(setups), options.out))


if __name__ == "__main__":
    main()
