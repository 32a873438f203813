"""One of many processes at a gate: waits for `go`, asks for admission, prints {reason: count} as JSON.

Arguments: the URL of Redis, the model, the number of attempts, requests per minute (0: no limit).
"""

import json
import sys
from collections import Counter

import redis

from orchestrator.llm.gate import CallTicket, Policy, Rates, RedisGate

url, model, tries, requests = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
client = redis.Redis.from_url(url)
gate = RedisGate(client, Policy(failures=3, open_seconds=0.2, probe_seconds=30))
client.rpush("crowd:here", 1)
client.blpop(["crowd:go"], timeout=60)
rates = Rates(requests=requests or None)
reasons = Counter(gate.admit(CallTicket(model, rates, tokens=1)).reason for _ in range(tries))
sys.stdout.write(json.dumps(reasons))
