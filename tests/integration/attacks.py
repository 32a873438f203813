"""Attacks on a sandbox: Python programs, each of which prints `broke out` when it got what it wanted."""

SECRET = "the-worker-s-secret"

# every argument is a word on the command line
READ_FILE = """
import sys
print("broke out" if open(sys.argv[1]).read() else "empty")
"""

WRITE_FILE = """
import sys
open(sys.argv[1], "w").write("x")
print("broke out")
"""

READ_ENVIRONMENTS = f"""
import sys
for pid in (1, *range(int(sys.argv[1]) - 50, int(sys.argv[1]) + 50)):
    try:
        if b"{SECRET}" in open(f"/proc/{{pid}}/environ", "rb").read():
            print("broke out", pid)
    except OSError:
        continue
"""

CONNECT = """
import socket, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2)
print("broke out")
"""

CONNECT_UNIX = """
import socket, sys
socket.socket(socket.AF_UNIX).connect(sys.argv[1])
print("broke out")
"""

SIGNAL = """
import os, sys
os.kill(int(sys.argv[1]), 0)
print("broke out")
"""

FORK = """
import os, sys, time
made = 0
try:
    for _ in range(int(sys.argv[1])):
        if os.fork() == 0:
            time.sleep(1)
            os._exit(0)
        made += 1
except OSError:
    pass
print("broke out" if made == int(sys.argv[1]) else "stopped", made)
"""

ALLOCATE = """
import sys
block = bytearray(int(sys.argv[1]))
print("broke out")
"""

ALLOCATE_IN_MANY = """
import os, sys, time
for _ in range(4):
    if os.fork() == 0:
        block = bytearray(os.urandom(4096) * (int(sys.argv[1]) // 4096))
        time.sleep(1)
        os._exit(0)
for _ in range(4):
    os.wait()
print("broke out")
"""

FILL = """
import os, sys, time
block = b"x" * 2**20
for number in range(int(sys.argv[2])):
    with open(f"{sys.argv[1]}/{number}", "wb") as file:
        file.write(block)
    time.sleep(0.03)
print("broke out")
"""

FILL_ELSEWHERE = """
import os
for place in ("/", "/dev", "/etc", "/usr", "/var/tmp", "/run", "/home", os.getcwd()):
    try:
        with open(os.path.join(place, f"octollm-attack-{os.getpid()}"), "wb") as file:
            file.write(b"x" * 2**20)
        os.unlink(file.name)
        print("broke out", place)
    except OSError:
        continue
"""

LARGE_FILE = """
import sys
with open(sys.argv[1] + "/large", "wb") as file:
    for _ in range(int(sys.argv[2])):
        file.write(b"x" * 2**20)
        file.flush()
print("broke out")
"""

FLOOD = """
import os
for _ in range(64):
    os.write(1, b"x" * 2**20)
"""

BURN = """
while True:
    pass
"""

# two forks and a session of its own, all descriptors closed: nothing ties it to who started it
DAEMON = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(64):
            try:
                os.close(descriptor)
            except OSError:
                pass
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(30)", sys.argv[1]])
    os._exit(0)
os.wait()
import time
time.sleep(float(sys.argv[2]))
"""

MAKE_NAMESPACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000 | 0x00020000) == 0:
    print("broke out")
"""

TRACE = """
import ctypes, sys
if ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0:
    print("broke out")
"""

# directories so deep that their paths can't be named
FILL_OUT_OF_SIGHT = """
import os, sys, time
os.chdir(sys.argv[1])
for _ in range(20):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
block = b"x" * 2**20
for number in range(int(sys.argv[2])):
    with open(str(number), "wb") as file:
        file.write(block)
    time.sleep(0.03)
print("broke out")
"""
