"""The first words that the platform sends to a host's Python: they bring `platform_runtime` there and start it.

Never imported: its text is sent. It runs in any Python 3, to be able to say that one is too old. Standard input brings
a line of JSON, `{mark, root, digest}`, and, where it asks for it, the package as a zip file behind its size. Each
answer is a line behind `mark`: what a login shell prints before it, and after, is not listened to.
"""

import json
import os
import sys

asked = json.loads(sys.stdin.buffer.readline().decode())
out = os.dup(1)
# Whatever prints from now on must not get between the frames.
os.dup2(2, 1)
os.umask(0o077)


def say(**what: object) -> None:
    os.write(out, ("\n" + asked["mark"] + json.dumps(what) + "\n").encode())


def put(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = path + "." + str(os.getpid())
    with open(beside, "wb") as file:
        file.write(data)
    os.replace(beside, path)


def install(folder: str) -> None:
    import io  # noqa: PLC0415 - seldom needed, and each start would pay for it
    import zipfile  # noqa: PLC0415 - as above

    with zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))) as package:
        for name in package.namelist():
            put(os.path.join(folder, name), package.read(name))
    # Last, so that a copy cut short is written again.
    put(os.path.join(folder, ".complete"), asked["digest"].encode())


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - to tell it is what this program is for
        say(problem="python", version=sys.version.split()[0], path=sys.executable)
        return
    root = asked["root"] or os.path.join(os.path.expanduser("~"), "anneal")
    folder = os.path.join(root, "runtime", asked["digest"])
    try:
        if not os.path.exists(os.path.join(folder, ".complete")):
            say(need=True)
            install(folder)
    except OSError as error:
        say(problem="folder", errno=error.errno, message=error.strerror, path=root)
        return
    sys.path.insert(0, folder)
    from platform_runtime import serve  # noqa: PLC0415 - it has only just come

    say(ready=True, root=root)
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    serve.serve(0, out)


main()
