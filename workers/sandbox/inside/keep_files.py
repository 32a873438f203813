"""A script inside the sandbox, run by `python -c`: runs a tool, then writes the files that it left to the report.

Arguments: the report's path; the directory of the files; the most files, bytes of each, bytes of all and bytes of the
tool's own report, joined by commas; the file that the tool writes its own report to; the tool's argument list. The
report is a line of JSON, {"own": size of the tool's report, "files": [[path, size], ...], "left_out": number}, and then
the bytes themselves in this order. Only regular files without a second name are kept.
"""

import json
import os
import stat
import subprocess
import sys

MAX_ENTRIES = 2000
MAX_DEPTH = 8


def files_below(folder: str, depth: int = 0) -> "list[str]":
    """Return the paths of the regular files below a folder, in the order of their names."""
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)[:MAX_ENTRIES]
    except OSError:
        return []
    paths: list[str] = []
    for entry in found:
        if entry.is_dir(follow_symlinks=False) and depth < MAX_DEPTH:
            paths += files_below(entry.path, depth + 1)[: MAX_ENTRIES - len(paths)]
        elif not entry.is_dir(follow_symlinks=False):
            paths.append(entry.path)
    return paths[:MAX_ENTRIES]


def read(path: str, most: int) -> "bytes | None":
    """Return the content of a regular file without a second name, of at most `most` bytes; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
            return None
        try:
            content = file.read(most + 1)
        except OSError:
            return None
    return content if len(content) <= most else None


def main(report: str, folder: str, bounds: str, own: str, *tool: str) -> int:
    """Return the tool's exit code, 128 + n for signal n."""
    most_files, most_bytes, most_in_all, most_own = map(int, bounds.split(","))
    os.mkdir(folder)
    code = subprocess.call(tool)
    written = read(own, most_own) or b""
    kept: list[tuple[str, bytes]] = []
    left_out = size = 0
    for path in files_below(folder):
        content = None
        if len(kept) < most_files:
            content = read(path, min(most_bytes, most_in_all - size))
        if content is None:
            left_out += 1
            continue
        size += len(content)
        kept.append((os.path.relpath(path, folder).encode("utf-8", "replace").decode(), content))
    told = {"own": len(written), "files": [[name, len(one)] for name, one in kept], "left_out": left_out}
    with open(report, "wb") as out:
        out.write(json.dumps(told).encode() + b"\n" + written)
        for _, content in kept:
            out.write(content)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
