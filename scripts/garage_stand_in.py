"""Stands in for Garage where its program is missing: the same arguments and configuration file, moto for the S3 side.

The administration side knows the calls that `deploy/compose/garage_bucket.py` makes, asks for the token and refuses
what Garage refuses: an access key of the wrong form. It checks no signature of S3 requests; moto does not.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

KEY_ID, SECRET = re.compile(r"GK[0-9a-f]{24}"), re.compile(r"[0-9a-f]{64}")


class Admin(BaseHTTPRequestHandler):
    """A few calls of the administration API, version 2."""

    token: str
    s3: Any
    keys: dict[str, str]
    buckets: dict[str, str]

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        print(format % args, file=sys.stderr)

    def _answer(self, body: Any) -> None:
        path = urlsplit(self.path).path
        if path == "/health":
            self._send(200, {})
        elif self.headers.get("Authorization") != f"Bearer {self.token}":
            self._send(403, {"code": "Forbidden"})
        else:
            call = getattr(self, path.removeprefix("/v2/").lower(), None)
            self._send(*(call(body) if call else (404, {"code": "NoSuchEndpoint"})))

    def getclusterhealth(self, _body: Any) -> tuple[int, Any]:
        return 200, {"status": "healthy"}

    def listkeys(self, _body: Any) -> tuple[int, Any]:
        return 200, [{"id": key, "name": name} for key, name in self.keys.items()]

    def importkey(self, body: Any) -> tuple[int, Any]:
        if not KEY_ID.fullmatch(body["accessKeyId"]) or not SECRET.fullmatch(body["secretAccessKey"]):
            return 400, {"code": "InvalidRequest"}
        if body["accessKeyId"] in self.keys:
            return 409, {"code": "KeyAlreadyExists"}
        self.keys[body["accessKeyId"]] = body["name"]
        return 200, {"accessKeyId": body["accessKeyId"], "name": body["name"]}

    def listbuckets(self, _body: Any) -> tuple[int, Any]:
        return 200, [{"id": number, "globalAliases": [name]} for number, name in self.buckets.items()]

    def createbucket(self, body: Any) -> tuple[int, Any]:
        number = f"{len(self.buckets):064x}"
        self.buckets[number] = body["globalAlias"]
        return 200, {"id": number, "globalAliases": [body["globalAlias"]]}

    def allowbucketkey(self, body: Any) -> tuple[int, Any]:
        """Garage hides a bucket from keys without a right to it, so it comes into being on the S3 side here."""
        if body["accessKeyId"] not in self.keys or body["bucketId"] not in self.buckets:
            return 404, {"code": "NoSuchBucket"}
        name = self.buckets[body["bucketId"]]
        if all(bucket["Name"] != name for bucket in self.s3.list_buckets()["Buckets"]):
            self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "garage"})
        return 200, {"id": body["bucketId"]}

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> int:
    """`server`, or `status`, which ends with 0 where a server answers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", type=Path, required=True)
    parser.add_argument("command", choices=["server", "status"])
    parser.add_argument("--single-node", action="store_true")
    options = parser.parse_args()
    config = tomllib.loads(options.c.read_text(encoding="utf-8"))
    host, _, port = config["admin"]["api_bind_addr"].rpartition(":")
    if options.command == "status":
        with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=2):
            return 0
    return serve(config, (host, int(port)))


def serve(config: dict[str, Any], address: tuple[str, int]) -> int:
    s3_host, _, s3_port = config["s3_api"]["api_bind_addr"].rpartition(":")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # else moto would outlive this
    moto = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", s3_host, "-p", s3_port])
    try:
        Admin.token = Path(config["admin"]["admin_token_file"]).read_text(encoding="utf-8").strip()
        Admin.keys, Admin.buckets = {}, {}
        Admin.s3 = boto3.client(
            "s3",
            endpoint_url=f"http://{s3_host}:{s3_port}",
            region_name=config["s3_api"]["s3_region"],
            aws_access_key_id="any",
            aws_secret_access_key="any",  # noqa: S106 -- moto asks for some
        )
        ThreadingHTTPServer(address, Admin).serve_forever()
    finally:
        moto.terminate()
        moto.wait(10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
