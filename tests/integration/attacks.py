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

# a watch on a directory shows the names of files that others make in it
WATCH = """
import ctypes, sys
libc = ctypes.CDLL(None)
if libc.inotify_add_watch(libc.inotify_init(), sys.argv[1].encode(), 0x100) >= 0:
    print("broke out")
"""

# argument: mebibytes; in four processes, since address space is bounded too
SHARE_MEMORY = """
import mmap, os, sys, time
for _ in range(4):
    if os.fork() == 0:
        shared = mmap.mmap(-1, int(sys.argv[1]) * 2**18)
        for page in range(0, len(shared), 4096):
            shared[page] = 1
        time.sleep(1)
        os._exit(0)
ended = [os.wait()[1] for _ in range(4)]
if not any(ended):
    print("broke out")
"""

# of what is mapped only a page is kept: all pages stay in memory, and no process is charged with them
HIDE_SHARED_MEMORY = """
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
size = 2**24
for _ in range(int(sys.argv[1]) * 2**20 // size):
    place = libc.mmap(None, ctypes.c_size_t(size), 3, 0x21, -1, ctypes.c_long(0))
    if place in (None, ctypes.c_void_p(-1).value):
        sys.exit("refused")
    ctypes.memset(place, 1, size)
    libc.munmap(place + 4096, size - 4096)
time.sleep(1)
print("broke out")
"""

# a child of a thread is in the thread's list of children, not in that of the first thread
ALLOCATE_IN_CHILDREN_OF_THREADS = """
import os, sys, threading, time
def fork():
    if os.fork() == 0:
        block = bytearray(os.urandom(4096) * (int(sys.argv[1]) // 4096))
        time.sleep(1)
        os._exit(0)
    time.sleep(1.5)
threads = [threading.Thread(target=fork) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("broke out")
"""

# arguments: a directory, a number of files of a mebibyte, and how they are kept
KEEP_DELETED = """
import mmap, os, socket, sys, time
ours, theirs = socket.socketpair()
kept = []
for number in range(int(sys.argv[2])):
    descriptor = os.open(f"{sys.argv[1]}/{number}", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"x" * 2**20)
    os.unlink(f"{sys.argv[1]}/{number}")
    if sys.argv[3] == "mapped":
        kept.append(mmap.mmap(descriptor, 4096))
        # the object holds a descriptor of its own
        for own in range(3, 256):
            if own not in (ours.fileno(), theirs.fileno()):
                try:
                    os.close(own)
                except OSError:
                    pass
    if sys.argv[3] == "sent":
        socket.send_fds(ours, [b"x"], [descriptor])
        os.close(descriptor)
    time.sleep(0.03)
time.sleep(1)
print("broke out")
"""

LIST = """
import os, sys
if os.listdir(sys.argv[1]):
    print("broke out")
"""

# the kernel sends the signal that a file's owner asked for
SIGNAL_BY_FILE = """
import fcntl, os, sys
reading, writing = os.pipe()
fcntl.fcntl(reading, 10, 9)
fcntl.fcntl(reading, fcntl.F_SETOWN, int(sys.argv[1]))
fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
os.write(writing, b"x")
"""

# nobody sees the open files of a program that can be executed and not read; arguments: a directory, the program
HIDE_OPEN_FILES = """
import os, sys
program = sys.argv[1] + "/program"
with open(os.path.realpath(sys.executable), "rb") as file:
    copy = os.open(program, os.O_WRONLY | os.O_CREAT, 0o111)
    while os.sendfile(copy, file.fileno(), None, 2**24):
        pass
    os.close(copy)
os.execve(program, [program, "-c", sys.argv[2], sys.argv[1], *sys.argv[3:]], {"PYTHONHOME": sys.base_prefix})
"""

STAT = """
import os, sys
print(os.stat(sys.argv[1]).st_size)
"""
