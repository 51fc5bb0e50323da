"""The policy of the servers: a principal with a token of its own for each service, and the rules of the shop."""

import hashlib
import secrets

KINDS = {
    "product": "service",
    "cart": "service",
    "order": "service",
    "gateway": "service",
    # Copies the repository and follows the events of the host.
    "mirror": "operator",
    # Changes the configuration and seals values. It cannot open them.
    "platform": "operator",
}

RULES = """
# Each service reads the environment that has its own name, with its sealed values opened.
[[allow]]
who = ["kind:service"]
may = ["read", "open"]
application = ["{principal}"]
profile = ["*"]

# The file that the gateway renders belongs to it.
[[area]]
path = ["haproxy.cfg.j2"]
application = ["gateway"]

# The gateway learns of changes of its file at once.
[[allow]]
who = ["gateway"]
may = ["list"]

[[allow]]
who = ["mirror"]
may = ["clone", "overview"]

[[allow]]
who = ["platform"]
may = ["read", "push"]
application = ["*"]
profile = ["*"]
branch = ["**", "tag:**"]

[[allow]]
who = ["platform"]
may = ["list", "overview", "clone", "seal"]
"""


def new_token():
    return f"hw_{secrets.token_urlsafe(32)}"


def policy(tokens):
    """Returns the text of the policy. It contains the digests of tokens only."""
    text = "version = 1\n"
    for name, kind in KINDS.items():
        digests = ", ".join(f'{{ sha256 = "{hashlib.sha256(token.encode()).hexdigest()}" }}' for token in tokens[name])
        text += f'\n[[principal]]\nname = "{name}"\nkind = "{kind}"\ntokens = [{digests}]\n'
    return text + RULES
