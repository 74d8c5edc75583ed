"""`valkey-cli -p PORT ping` where only the server is installed; the password comes by REDISCLI_AUTH."""

from __future__ import annotations

import argparse
import os

import redis

parser = argparse.ArgumentParser()
parser.add_argument("-p", type=int, default=6379)
parser.add_argument("command", choices=["ping"])
options = parser.parse_args()
with redis.Redis(port=options.p, password=os.environ.get("REDISCLI_AUTH"), socket_timeout=2) as client:
    print("PONG" if client.ping() else "")
