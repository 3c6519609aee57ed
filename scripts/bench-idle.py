#!/usr/bin/env python3
"""Measures what an idle session costs the server in memory: WebSocket connections that say nothing, and such that follow a log.

    scripts/bench-idle.py [SESSIONS]     (4000; each takes two of this process' and the server's file descriptors together)

Starts a server of its own on a free port, with data of its own, and ends it. The figure is the growth of its resident memory for each
session, of the second half of them: the first half fills what the allocator keeps at hand. The kernel's part of a socket is not in it.
"""
import base64
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

CACHE = os.environ.get("TIDEWIRE_CACHE", os.path.expanduser("~/.cache/tidewire"))
TIDEWIRE = os.path.join(os.environ.get("CARGO_TARGET_DIR", f"{CACHE}/target"), "release", "tidewire")
SESSIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
CONFIG = '[built_in]\nenabled = false\n[limits]\nconnections = 100000\n[[deployment]]\nname = "scripted"\nbackend = "scripted"\nslots = 4\n'
# One token an hour: a log that is there and says nothing.
SILENT = {"input": {"messages": [{"role": "user", "content": "x"}], "script": {"tokens": 3, "delay_ms": 3_600_000}}}


def session(host, port):
    """A WebSocket, opened by hand: a library would cost more than what is measured."""
    opened = socket.create_connection((host, int(port)))
    key = base64.b64encode(os.urandom(16)).decode()
    opened.sendall(
        f"GET /v1/ws HTTP/1.1\r\nhost: {host}:{port}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode())
    told = b""
    while b"\r\n\r\n" not in told:
        told += opened.recv(4096)
    assert b" 101 " in told.split(b"\r\n")[0], told
    return opened


def follow(opened, log):
    frame = json.dumps({"op": "follow", "ref": "1", "log": log}).encode()
    opened.sendall(bytes([0x81, 0x80 | len(frame)]) + bytes(4) + frame)
    # Its answer, and the events that there are.
    assert b"following" in opened.recv(4096)


def measure(server, host, port, count, log=None):
    def resident():
        with open(f"/proc/{server.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])
    sessions, before = [], 0
    for number in range(count):
        if number == count // 2:
            before = settled(resident)
        sessions.append(session(host, port))
        if log:
            follow(sessions[-1], log)
    each = (settled(resident) - before) / (count - count // 2)
    for opened in sessions:
        opened.close()
    return each


def settled(resident):
    """The figure once it stands still."""
    last = -1
    while (now := resident()) != last:
        last = now
        time.sleep(0.5)
    return now


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as data:
        config = os.path.join(data, "tidewire.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG)
        server = subprocess.Popen(
            [TIDEWIRE, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(data, "data"), "--config", config],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            url = server.stdout.readline().split()[-1]
            host, port = url.removeprefix("http://").split(":")
            request = urllib.request.Request(f"{url}/v1/tasks", json.dumps(SILENT).encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                log = json.load(answer)["id"]
            print(f"{SESSIONS} sessions, resident memory of the server for each")
            print(f"   idle                      {measure(server, host, port, SESSIONS):6.1f} KiB")
            print(f"   idle, following one log   {measure(server, host, port, SESSIONS, log):6.1f} KiB   aim 6 KiB")
        finally:
            server.terminate()
            server.wait()


main()
