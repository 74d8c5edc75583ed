"""Makes the bucket and its access key in Garage, over its administration API (v2). A second run changes nothing.

Only the standard library; the access key is the one that the services already have in their file.
"""

from __future__ import annotations

import configparser
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60.0
PERMISSIONS = {"read": True, "write": True, "owner": False}


class Garage:
    """The administration API."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def call(self, name: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self._url}/v2/{name}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def wait(self) -> None:
        """Return once the node answers and has its place in the layout."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if self.call("GetClusterHealth")["status"] != "unavailable":
                    return
            except urllib.error.HTTPError as error:
                if error.code in {401, 403}:  # a wrong token stays wrong
                    raise
            except OSError:
                pass
            if time.monotonic() > deadline:
                sys.exit("garage-bucket: Garage does not answer, or its layout has no node.")
            time.sleep(1)


def main() -> None:
    """Make what is missing."""
    garage = Garage(os.environ["GARAGE_ADMIN_URL"], Path(os.environ["GARAGE_ADMIN_TOKEN_FILE"]).read_text().strip())
    credentials = configparser.ConfigParser(interpolation=None)
    credentials.read_string(Path(os.environ["S3_CREDENTIALS_FILE"]).read_text())
    key_id, secret = (credentials["default"][name] for name in ("aws_access_key_id", "aws_secret_access_key"))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            garage.wait()
            _make(garage, os.environ["S3_BUCKET"], key_id, secret)
        except urllib.error.HTTPError as error:
            sys.exit(f"garage-bucket: Garage refused {error.url.rpartition('/')[2]} with status {error.code}.")
        except OSError:  # it hung up between two calls; what was made is found again
            if time.monotonic() > deadline:
                sys.exit("garage-bucket: Garage hangs up on every try.")
            time.sleep(1)
        else:
            break
    print("the bucket is there")


def _make(garage: Garage, name: str, key_id: str, secret: str) -> None:
    if all(key["id"] != key_id for key in garage.call("ListKeys")):
        garage.call("ImportKey", {"accessKeyId": key_id, "secretAccessKey": secret, "name": "darkroom"})
    bucket = _bucket(garage, name)
    garage.call("AllowBucketKey", {"bucketId": bucket, "accessKeyId": key_id, "permissions": PERMISSIONS})


def _bucket(garage: Garage, name: str) -> str:
    for bucket in garage.call("ListBuckets"):
        if name in bucket["globalAliases"]:
            return str(bucket["id"])
    return str(garage.call("CreateBucket", {"globalAlias": name})["id"])


if __name__ == "__main__":
    main()
