"""Registers the arm, keeps it registered, and serves it: python run.py PORT."""

import json
import os
import sys
import threading
import time
import urllib.request

from arm import MANIFEST, app

API = os.environ.get("OCTOLLM_URL", "http://127.0.0.1:8000")
PORT = int(sys.argv[1])


def post(path, body):
    headers = {"Authorization": f"Bearer {os.environ['OCTOLLM_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{API}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def keep_registered(seconds):
    while True:
        time.sleep(seconds)
        try:
            post("/v1/arms/register", {**MANIFEST, "url": f"http://127.0.0.1:{PORT}"})
        except OSError as error:
            print(f"not registered, trying again: {error}", flush=True)


registered = post("/v1/arms/register", {**MANIFEST, "url": f"http://127.0.0.1:{PORT}"})
os.environ["ARM_SECRET"] = registered["secret"]
threading.Thread(target=keep_registered, args=(registered["heartbeat_seconds"],), daemon=True).start()
print(f"registered as {registered['arm']['arm_id']}", flush=True)
app.run("127.0.0.1", PORT)
