#!/usr/bin/env python3
"""A model server of our own on 127.0.0.1: the real agent programs talk to it instead of a vendor.

It answers the Anthropic Messages API and OpenAI's Responses API by a script and appends what it was really asked to a log
(JSON lines): that log is the truth that a submission is compared with. It is a proxy too, one that
lets nothing through: whoever tries to reach another host leaves a row in the log.

The script is a JSON file, read anew at every request so that a test can change it under a running agent:

    {"force": {"status": 401, "type": "authentication_error", "message": "invalid x-api-key"},
     "rules": [{"match": "REGEX", "steps": [STEP, ...]}]}

`force` (optional) answers every request with that error. Otherwise the last rule whose regex is found in
the newest prompt gives the steps; one request is answered by one step, and the number of tool results
since that prompt says which. Without a rule the answer is "ok.".

    {"say": "text"}                         the turn ends with this text
    {"tool": "Bash", "input": {...}}        a tool call; "{name}" in strings is a named group of the match
    {"say": "text", "words_s": 0.2}         one word each 0.2 s: a long turn
    {"say": "text", "wait": "FILE"}         answers once the file is there
    {"hang": true}                          accepts the request and never answers
    {"status": 429, "type": "rate_limit_error", "message": "...", "headers": {...}}
"""

import argparse
import http.server
import json
import os
import re
import socketserver
import threading
import time

POLL_S = 0.02
ASIDES = (
    "<system-reminder>",
    "[Request interrupted by user",
    "<environment_context>",
    "<turn_aborted>",
    "Another language model",
)
ERROR = ("type", "message", "code", "resets_at")
SUMMARIES = ("CRITICAL: Respond with TEXT ONLY", "You are performing a CONTEXT CHECKPOINT")


def prompt_and_step(messages):
    """The newest prompt's text and how many tool results followed it. One that came while a tool ran counts too."""
    results = 0
    for message in reversed(messages):
        if message["role"] != "user":
            continue
        content = message["content"]
        if isinstance(content, str):
            return content, results
        texts = [text for text in user_texts(message) if not text.lstrip().startswith(ASIDES)]
        if texts:
            return texts[-1], results  # those before it belong to turns that failed
        results += sum(block["type"] == "tool_result" for block in content)
    return "", results


def user_texts(message):
    """The texts of one message of the user, without the results of tools."""
    if message["role"] != "user":
        return []
    content = message["content"]
    return [content] if isinstance(content, str) else [block["text"] for block in content if block["type"] == "text"]


def session(request):
    """The conversation that a request belongs to, as the program says."""
    if "input" in request:
        return request.get("prompt_cache_key")
    user = str((request.get("metadata") or {}).get("user_id", ""))
    found = re.search(r"session(?:_id)?\W*_?([0-9a-f]{8}-[0-9a-f-]{27})", user)
    return found[1] if found else None


def messages_of(items):
    """The input of a Responses request as the messages that the other API would have."""
    messages = []
    for item in items:
        if item["type"] == "message" and item["role"] == "user":
            content = [{"type": "text", "text": part["text"]} for part in item["content"] if part["type"] == "input_text"]
            messages.append({"role": "user", "content": content})
        elif item["type"] == "function_call_output":
            messages.append({"role": "user", "content": [{"type": "tool_result"}]})
    return messages


def choose(script, prompt, step):
    if script.get("force"):
        return script["force"]
    for rule in reversed(script.get("rules", [])):
        found = re.search(rule["match"], prompt)
        if found:
            steps = rule["steps"]
            return fill(steps[min(step, len(steps) - 1)], found.groupdict())
    return {"say": "ok."}


def fill(value, groups):
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda m: groups.get(m[1]) or m[0], value)
    if isinstance(value, dict):
        return {key: fill(item, groups) for key, item in value.items()}
    return value


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.reply(200, {})

    do_GET = do_HEAD

    def do_CONNECT(self):
        """Somebody wants another host through us."""
        self.server.write({"at": time.time(), "main": False, "elsewhere": self.path})
        self.reply(403, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            self.error({"status": 400, "type": "invalid_request_error", "message": "not JSON"})
            return
        path = self.path.split("?")[0]
        if path.endswith("/count_tokens"):
            self.reply(200, {"input_tokens": 100})
            return
        if path.endswith("/responses"):
            request["messages"] = messages_of(request["input"])
        elif not path.endswith("/messages"):
            self.reply(404, {"type": "error", "error": {"type": "not_found_error", "message": path}})
            return
        prompt, step = prompt_and_step(request["messages"])
        # Only the main conversation carries tools (titles, topics and quota probes do not), and so does a summary of it.
        main = bool(request.get("tools")) and not prompt.startswith(SUMMARIES)
        with open(self.server.script, encoding="utf-8") as file:
            script = json.load(file)
        action = choose(script, prompt, step) if main or script.get("force") else {"say": "ok."}
        self.server.record(request, main, prompt, step, action)
        try:
            self.act(action, request)
        except OSError:
            self.close_connection = True  # the agent ended, or was interrupted

    def act(self, action, request):
        while "wait" in action and not os.path.exists(action["wait"]):
            if self.server.stopping.wait(POLL_S):
                return
        if action.get("hang"):
            self.server.stopping.wait()
        elif "status" in action:
            self.error(action)
        elif request.get("stream"):
            self.stream(action, request)
        else:
            self.reply(200, message(action, request))

    def reply(self, status, value, headers=None):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, item in (headers or {}).items():
            self.send_header(name, item)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def error(self, action):
        body = {
            "type": "error",
            "error": {"type": "api_error", "message": "error", **{key: action[key] for key in ERROR if key in action}},
        }
        self.reply(action["status"], body, action.get("headers"))

    def stream(self, action, request):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for name, data in (response_events if "input" in request else events)(action, request):
            self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()
            if name in ("content_block_delta", "response.output_text.delta") and action.get("words_s"):
                self.server.stopping.wait(action["words_s"])


def message(action, request):
    content = []
    if "say" in action:
        content.append({"type": "text", "text": action["say"]})
    if "tool" in action:
        content.append(
            {"type": "tool_use", "id": f"toolu_{time.time_ns()}", "name": action["tool"], "input": action["input"]}
        )
    return {
        "id": f"msg_{time.time_ns()}", "type": "message", "role": "assistant", "model": request.get("model", "model"),
        "content": content, "stop_reason": "tool_use" if "tool" in action else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 10},
    }  # fmt: skip


def events(action, request):
    whole = message(action, request)
    yield "message_start", {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            yield (
                "content_block_start",
                {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
            )
            for word in re.findall(r"\S+\s*", block["text"]) or [""]:
                yield (
                    "content_block_delta",
                    {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": word}},
                )
        else:
            yield (
                "content_block_start",
                {"type": "content_block_start", "index": index, "content_block": {**block, "input": {}}},
            )
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 10}}
    yield "message_stop", {"type": "message_stop"}


def response_events(action, request):
    """The events of a streamed answer of the Responses API."""
    number = time.time_ns()
    yield "response.created", {"type": "response.created", "response": {"id": f"resp_{number}"}}
    if "say" in action:
        item = {
            "type": "message",
            "id": f"msg_{number}",
            "role": "assistant",
            "content": [{"type": "output_text", "text": ""}],
        }
        yield "response.output_item.added", {"type": "response.output_item.added", "output_index": 0, "item": item}
        for word in re.findall(r"\S+\s*", action["say"]) or [""]:
            delta = {"item_id": item["id"], "output_index": 0, "content_index": 0, "delta": word}
            yield "response.output_text.delta", {"type": "response.output_text.delta", **delta}
        item = {**item, "content": [{"type": "output_text", "text": action["say"]}]}
    else:
        arguments = json.dumps(action["input"])
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": action["tool"],
                "arguments": arguments}  # fmt: skip
    yield "response.output_item.done", {"type": "response.output_item.done", "output_index": 0, "item": item}
    usage = {"input_tokens": 10, "input_tokens_details": None, "output_tokens": 10, "output_tokens_details": None}
    response = {"id": f"resp_{number}", "usage": {**usage, "total_tokens": 20}}
    yield "response.completed", {"type": "response.completed", "response": response}


class ModelServer(http.server.ThreadingHTTPServer):
    """Serves on a free port of 127.0.0.1; `script` and `log` are file names."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script, log, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.script, self.log = script, log
        self.stopping = threading.Event()
        self.lock = threading.Lock()

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # without HTTPServer's look-up of the host's name
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def record(self, request, main, prompt, step, action):
        texts = [text for message in request["messages"] for text in user_texts(message)]
        self.write({"at": time.time(), "main": main, "session": session(request), "step": step, "prompt": prompt,
                    "texts": texts, "messages": len(request["messages"]), "action": action})  # fmt: skip

    def write(self, row):
        with self.lock, open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self):
        """End the server, and the answers that still wait."""
        self.stopping.set()
        self.shutdown()
        self.server_close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("script")
    parser.add_argument("log")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    server = ModelServer(args.script, args.log, args.port)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
