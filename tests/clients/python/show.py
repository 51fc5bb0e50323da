"""usage: show.py <endpoint> <name> <profiles> <label|-> <key,key,...>

Reads the configuration as any Python program with config-client does and prints one JSON line.
With the label `-` the client's own default, `master`, is sent.
"""

import json
import re
import sys

from config.spring import ConfigClient


def main():
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__.splitlines()[0])
    endpoint, name, profiles, label = sys.argv[1:5]
    keys = [key for key in (sys.argv[5] if len(sys.argv) == 6 else "").split(",") if key]
    chosen = {} if label == "-" else {"label": label}
    client = ConfigClient(address=endpoint, app_name=name, profile=profiles, fail_fast=True, **chosen)
    client.get_config()
    # The client turns a[0].b into lists and asks for them as a.0.b.
    values = {key: client.get(re.sub(r"\[(\d+)\]", r".\1", key), default=None) for key in keys}
    print(json.dumps({"label": client.label, "values": values}))


if __name__ == "__main__":
    main()
