# SPDX-License-Identifier: EUPL-1.2
"""Asks the connector for an evidence, with nothing but Python's own library.

    EINMAL_URL=http://127.0.0.1:8700 EINMAL_TOKEN=... python3 evidence.py < question.json

It asks, uses what it got, then says so. Errors name the hop and what to do."""

import json
import os
import sys
import urllib.error
import urllib.request


def call(path: str, body: dict) -> dict:
    """One call of the connector; its answer, or the problem that it tells of."""
    request = urllib.request.Request(
        os.environ["EINMAL_URL"] + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + os.environ["EINMAL_TOKEN"]},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        sys.exit(f"{problem['reason']} at the {problem['hop']}: {problem['advice']}")


evidence = call("/v1/evidence", json.load(sys.stdin))
report = call(f"/v1/evidence/{evidence['id']}/use", {"use": "used"})
print(json.dumps({"outcome": evidence["outcome"], "fields": evidence["fields"],
                  "logged_at": report["receipt"]["index"]}))
