"""The program that runs on a host for the length of a run, fed over one exec channel.

It sends its facts, then carries out operations in order. After a failure it drops what was sent
ahead of the same sequence. It ends with its input. Messages in: `hello, op, alive`; out:
`locked, hello, start, progress, need, result, dropped, alive, fatal`.
"""

from __future__ import annotations

import importlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from provisioner.remote import oserrors, outputs
from provisioner.remote.arguments import BadArgument, normalise
from provisioner.remote.blobs import BlobStore
from provisioner.remote.facts import gather
from provisioner.remote.frames import MARKER, BrokenWire, message, read_frame
from provisioner.remote.hostlock import Held, HostLock
from provisioner.remote.kept import Program, keep
from provisioner.remote.module import Context, ModuleFailed

ALIVE_EVERY = 10.0  # seconds between signs of life
SILENCE_LIMIT = 60.0  # seconds without one, after which the peer counts as gone
HOLD = 0.02  # seconds that messages wait for more, where nobody waits for them
# What may be the end of this program is told of before it is begun.
DANGEROUS = frozenset({"command", "shell", "raw", "script", "service", "systemd"})


class Runner:
    """Executes one operation after another; a reader thread fills its queue."""

    def __init__(self, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.operations: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.blobs = BlobStore(
            lambda sha256, offset: self.send(t="need", sha256=sha256, offset=offset)
        )
        self.write_lock = threading.Lock()
        self.held = threading.Event()
        self.failed: dict[int, int | None] = {}  # sequences that ended, and by which group
        self.heard = time.monotonic()
        self.gone = threading.Event()
        self.lock: HostLock | None = None
        self.acted = False  # whether it was to do anything but look

    def send(self, **content: Any) -> None:
        """Send one message; a controller that has gone away is noticed by the reader."""
        self._write(message(content))

    def _write(self, data: bytes, hold: bool = False) -> None:
        with self.write_lock:
            try:
                self.stdout.write(data)
                if not hold:
                    self.stdout.flush()
            except (OSError, ValueError):
                self.gone.set()
        if hold:
            self.held.set()

    def flush(self) -> None:
        """Flusher thread: send what is held. Each packet that comes costs a controller of many
        hosts more than what is in it."""
        while self.held.wait() and not self.gone.wait(HOLD):
            self.held.clear()
            self._write(b"")

    def read(self) -> None:
        """Reader thread: queue operations, store blobs, note signs of life."""
        try:
            while True:
                kind, content = read_frame(self._read_exactly)
                self.heard = time.monotonic()
                if kind == "B":
                    self.blobs.receive(*content)
                elif content["t"] != "alive":
                    self.operations.put(content)
        except (BrokenWire, OSError, ValueError):
            pass
        finally:
            self.stop()

    def _read_exactly(self, count: int) -> bytes:
        data = self.stdin.read(count)
        if len(data) < count:
            raise BrokenWire("the controller has gone away")
        return data

    def stop(self) -> None:
        """Let the operation that runs finish, and nothing after it."""
        self.gone.set()
        self.blobs.close()
        self.operations.put(None)

    def beat(self) -> None:
        """Heartbeat thread: tell that we live, and notice when the controller doesn't."""
        while not self.gone.wait(ALIVE_EVERY):
            self.send(t="alive")
            if time.monotonic() - self.heard > SILENCE_LIMIT:
                self.stop()

    def serve(self) -> None:
        """Greet, then execute until told to stop or left alone."""
        for target in (self.read, self.beat, self.flush):
            threading.Thread(target=target, daemon=True).start()
        hello = self.operations.get()
        if hello is None or not self._lock(hello.get("lock")):
            return
        self.send(t="hello", facts=gather() if hello.get("facts", True) else {})
        while True:
            operation = self.operations.get()
            if operation is None or self.gone.is_set():
                return
            if self._is_void(operation):
                self.send(t="dropped", id=operation["id"])
            else:
                self._execute(operation)

    def _is_void(self, operation: dict[str, Any]) -> bool:
        """Whether a failure came before in the sequence, other than in the operation's own group:
        all items of a loop are carried out."""
        if operation["sequence"] not in self.failed:
            return False
        group = operation.get("group")
        return group is None or group != self.failed[operation["sequence"]]

    def _lock(self, wanted: dict[str, Any] | None) -> bool:
        if wanted is None:
            return True
        lock = HostLock(wanted["path"])
        try:
            lock.acquire(
                wanted["holder"],
                wanted["wait"],
                on_wait=lambda holder: self.send(t="locked", holder=holder),
                give_up=self.gone.is_set,
            )
        except Held as error:
            self.send(t="fatal", reason=str(error), advice=error.advice)
            return False
        except OSError as error:
            reason = f"the lock of the host can't be taken: {oserrors.explain(error)}"
            advice = oserrors.advice(error) or "only root can take it"
            self.send(t="fatal", reason=reason, advice=advice)
            return False
        self.lock = lock
        return True

    def _execute(self, operation: dict[str, Any]) -> None:
        number = operation["id"]
        self.acted = self.acted or not operation.get("check", False)
        start = message({"t": "start", "id": number})
        self._write(start, hold=operation["module"] not in DANGEROUS)
        started = time.monotonic()
        result = _advised(self._locked_call(operation), operation)
        result, data = _answer(number, result, time.monotonic() - started)
        if result.get("failed") and operation.get("on_failure", "stop") == "stop":
            self.failed[operation["sequence"]] = operation.get("group")
        self._write(data, hold=not self.operations.empty())

    def _locked_call(self, operation: dict[str, Any]) -> dict[str, Any]:
        wanted = operation.get("lock")
        if wanted is None:
            return self._call(operation)
        lock = HostLock(wanted["path"])
        try:
            lock.acquire(
                wanted["holder"],
                wanted["wait"],
                on_wait=lambda holder: self.send(t="locked", holder=holder),
                give_up=self.gone.is_set,
            )
        except Held as error:
            return {**_failure(str(error)), "advice": error.advice}
        except OSError as error:
            said = oserrors.explain(error)
            return _failure(f"the lock of the host can't be taken: {said}", error)
        try:
            return self._call(operation)
        finally:
            lock.release()

    def _call(self, operation: dict[str, Any]) -> dict[str, Any]:
        context = Context(
            check=operation.get("check", False),
            diff=operation.get("diff", False),
            progress=self._progress(operation["id"]),
            blob=self.blobs.get,
            stream=self.blobs.stream,
        )
        outer = {name: os.environ.get(name) for name in operation.get("environment", {})}
        os.environ.update(operation.get("environment", {}))
        try:
            module = importlib.import_module("provisioner.remote.modules." + operation["module"])
            result: dict[str, Any] = module.run(
                normalise(operation["args"], module.ARGUMENTS), context
            )
            result.setdefault("changed", False)
            return result
        except ModuleFailed as error:
            return {**_failure(error.msg, error), **error.extra, "failed": True}
        except BadArgument as error:
            return _failure(f"{operation['module']}: {error}")
        except OSError as error:
            return _failure(oserrors.explain(error), error)
        except (Exception, SystemExit) as error:
            import traceback  # which has much to load, for what hardly ever happens

            msg = f"{operation['module']} broke: {type(error).__name__}: {error}"
            return {**_failure(msg), "exception": traceback.format_exc()}
        finally:
            _restore(outer)

    def _progress(self, number: int) -> Callable[[int, int, str], None]:
        last = [0.0]

        def progress(done: int, total: int, label: str) -> None:
            now = time.monotonic()
            if now - last[0] >= 0.25 or (total and done >= total):
                last[0] = now
                self.send(t="progress", id=number, done=done, total=total, label=label)

        return progress


def _failure(msg: str, error: BaseException | None = None) -> dict[str, Any]:
    result = {"failed": True, "changed": False, "msg": msg}
    advice = oserrors.advice(error)
    return {**result, "advice": advice} if advice else result


def _advised(result: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """A failure of which the module knows no way out gets one that the disks suggest."""
    if not result.get("failed") or result.get("advice"):
        return result
    arguments = operation.get("args")
    named = arguments if isinstance(arguments, dict) else {}
    advice = oserrors.advice_on_disks(named.get(key) for key in ("dest", "path", "chdir"))
    return {**result, "advice": advice} if advice else result


def _answer(number: int, result: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytes]:
    """The result as it can be sent, and its frame."""
    failure = _failure("")
    for each in (outputs.bounded(result), outputs.shortened(result), failure):
        try:
            return each, message({"t": "result", "id": number, "result": each, "seconds": seconds})
        except (BrokenWire, TypeError, ValueError) as error:
            failure["msg"] = f"the result can't be sent: {error}"
            failure["changed"] = bool(result.get("changed"))
    raise AssertionError("a plain failure can be sent")


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def main(program: Program) -> None:
    """Take over stdin and stdout, so that nothing that a module prints gets on the wire."""
    stdin = os.fdopen(os.dup(0), "rb", buffering=1 << 16)
    stdout = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115 (for the life of the process)
    stdout.write(MARKER)
    stdout.flush()
    os.chdir("/")
    runner = Runner(stdin, stdout)
    try:
        runner.serve()
    except BaseException:
        import traceback

        traceback.print_exc()  # the controller shows its last line as the reason
        sys.stderr.flush()
    finally:
        runner.blobs.remove()
        stdout.flush()
        if runner.lock and runner.acted:
            keep(program)
        # daemon threads may be blocked in a read for ever: leave without joining them
        os._exit(0)
