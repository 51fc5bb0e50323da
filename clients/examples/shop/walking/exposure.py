"""Requests for the configuration of one service with the token of another one, on every route of a server."""

import http.client
from urllib.parse import quote

from .customers import Connection
from .processes import Failed, check, eventually

# The longest part of an answer that is read, and the time to wait for an answer. An event stream has no end.
BYTES_MAX = 4 * 1024 * 1024
SECONDS_MAX = 20
JSON = {"Accept": "application/json"}
EVENTS = {"Accept": "text/event-stream"}
PLAIN = {"Content-Type": "text/plain"}
# Resources that a principal with the right `list` receives, reduced to what it may read.
LISTS = ("/-/environments", "/-/problems", "/-/instances")


def requests_for(service, own, tip, sealed):
    """Returns method, path, headers and body of each request with which `own` could reach the configuration of `service`."""
    profiles = "prod,database,a"
    environments = [f"/{service}/{profiles}", f"/{service}/{profiles}/main", f"/{service}/{profiles}/{tip}"]
    environments += [f"/{service}/database", f"/{service}-database/prod", f"/{service}/default"]
    # Lists, prefixes, and other spellings of the name.
    environments += [f"/{own},{service}/{profiles}", f"/{service},{own}/{profiles}", f"/application,{service}/{profiles}"]
    environments += [f"/{service.upper()}/{profiles}", f"/%{ord(service[0]):02x}{service[1:]}/{profiles}"]
    environments += [f"/{own}%2f..%2f{service}/{profiles}", f"/{own}/../{service}/{profiles}", f"//{service}/{profiles}"]
    flat = [f"/{service}-database.{form}" for form in ("yml", "yaml", "json", "properties")]
    flat += [f"/{service}-{quote(profiles)}.yml", f"/main/{service}-database.yml", f"/{own},{service}-database.yml"]
    names = [f"{service}-database.yml", f"{service}.toml", f"{service}-prod.toml", f"..%2f{service}-database.yml"]
    files = [f"/{name}/{profiles}/main/{file}" for name in (service, own) for file in names]
    files += [f"/{name}/{profiles}/{file}?useDefaultLabel" for name in (service, own) for file in names[:1]]
    git = ["/-/git/main.git/info/refs?service=git-upload-pack", "/-/git/main.git/HEAD", f"/-/git/main.git/objects/{tip}"]
    lists = [*LISTS, "/-/replicas", "/-/events", "/metrics", "/openapi.json", "/"]
    lists += ["/actuator/health", "/actuator/env", "/livez", "/readyz", "/key", f"/key/{service}/prod", "/encrypt/status"]
    for path in environments:
        yield from (("GET", path, JSON, None), ("HEAD", path, {}, None), ("GET", path, EVENTS, None))
        yield "GET", path, JSON | {"Prefer": "wait=1"}, None
    for path in [*flat, *files, *git, *lists]:
        yield "GET", path, {}, None
    for path in ("/encrypt", "/decrypt", f"/decrypt/{service}/prod"):
        yield "POST", path, PLAIN, sealed.removeprefix("{cipher}")
    yield "POST", "/-/git/main.git/git-upload-pack", {"Content-Type": "application/x-git-upload-pack-request"}, wants(tip)
    yield "GET", f"/{service}/{profiles}", JSON | {"X-Principal": service, "X-Forwarded-User": service}, None


def wants(tip):
    """Returns the body with which git asks for a commit."""
    lines = (f"want {tip} no-progress\n", None, "done\n")
    return "".join("0000" if line is None else f"{len(line) + 4:04x}{line}" for line in lines)


def send(port, token, method, path, headers, body):
    """Returns the status, the headers and the beginning of the body. A stream is read until its first event is complete."""
    connection = Connection(port, "127.0.0.1")
    connection.timeout = SECONDS_MAX
    headers = headers | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        head = "\n".join(f"{name}: {value}" for name, value in answer.getheaders())
        if answer.getheader("Content-Type", "").startswith("text/event-stream"):
            content = b""
            while line := answer.readline(BYTES_MAX):
                content += line
                if b"data:" in content and content.endswith(b"\n\n"):
                    break
        else:
            content = answer.read(BYTES_MAX)
        return answer.status, head, content.decode(errors="replace")
    finally:
        connection.close()


def check_answers(shop, server, own, service, may_list=False):
    """Checks that no answer to `own`, and none to a caller without a token, contains anything of `service`. Returns their number."""
    sealed = shop.sealed[service]
    hidden = [shop.credentials[service].password, shop.credentials[service].role, sealed, sealed.removeprefix("{cipher}")]
    count = 0
    for request in requests_for(service, own, shop.tip(), sealed):
        if may_list and request[1] == "/-/events":
            continue  # A reduced stream is silent until something changes that the caller may read.
        for name, token in ((own, shop.tokens[own][-1]), ("a caller without a token", None)):
            where = f"{request[0]} {request[1]} of {name} at the {server}"
            try:
                status, head, content = send(shop.ports[server], token, *request)
            except (OSError, http.client.HTTPException) as error:
                raise Failed(f"{where}: {error!r}", getattr(shop, server)) from error
            check(not any(text in head + content for text in hidden), f"{where} shows {service}", getattr(shop, server))
            # What needs no permission has no value of a configuration. Everything else looks absent.
            is_open = request[1] in ("/livez", "/readyz", "/actuator/health") and request[0] == "GET"
            is_list = may_list and token and request[1] in LISTS
            wanted = (200,) if is_open or is_list else (404, 400, 405) if token else (401,)
            check(not is_list or f'"{service}"' not in content, f"{where} names {service}", getattr(shop, server))
            check(status in wanted, f"{where}: {status}, expected one of {wanted}", getattr(shop, server))
            count += 1
    return count


def check_own(shop, server, service):
    """Checks that the service itself receives its password on the routes that the others try, so that their checks can fail."""
    secret, token = shop.credentials[service].password, shop.tokens[service][-1]
    profiles = "prod,database,a"
    for path, headers in (
        (f"/{service}/{profiles}", JSON),
        (f"/{service}/{profiles}", EVENTS),
        (f"/{service}/{profiles}/main", JSON),
        (f"/{service}-database.yml", {}),
        (f"/{service}-database.json", {}),
        (f"/{service}-database.properties", {}),
    ):
        status, _, content = send(shop.ports[server], token, "GET", path, headers, None)
        check(status == 200 and secret in content, f"{path} at the {server} lacks the password: {status}", getattr(shop, server))
    platform = shop.tokens["platform"][-1]
    _, _, content = send(shop.ports[server], platform, "GET", f"/{service}/{profiles}", JSON, None)
    check(shop.sealed[service] in content, f"platform does not receive the sealed value at the {server}", getattr(shop, server))
    check(secret not in content, f"platform receives the opened value at the {server}", getattr(shop, server))


def await_statuses(shop, server, path, wanted):
    """Waits until requests with tokens have their statuses: a policy takes effect shortly after its file has changed."""
    for token, status in wanted.items():
        has_it = lambda: send(shop.ports[server], token, "GET", path, JSON, None)[0] == status
        eventually(f"{path} at the {server} is {status}", has_it, getattr(shop, server))
