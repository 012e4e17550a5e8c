"""An XMPP client at the end of a pipe: slixmpp, with Stream Management (XEP-0198), direct or through a SOCKS5 proxy.

    python xmpp_peer.py JID PASSWORD CA_FILE

Commands come on stdin, one a line: `connect` (to the JID's domain, by the system's resolver), `proxy HOST:PORT` (give
up the connection, use this proxy from now on; it resolves the name), `send JID TEXT`, `quit`. What happens goes to
stdout: `session new|resumed`, `message JID TEXT`, `failed REASON`.

slixmpp has no option for a proxy; but it dials by its event loop, and this loop dials through one.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from python_socks.async_.asyncio import Proxy
from slixmpp import JID, ClientXMPP
from slixmpp.stanza import Message

PORT = 5222


class SocksLoop(asyncio.SelectorEventLoop):
    """An event loop whose outgoing connections go through `proxy`, where there is one."""

    proxy: str | None = None

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if self.proxy is None or "sock" in options:
            return await super().create_connection(protocol_factory, host, port, **options)
        socket = await Proxy.from_url(f"socks5://{self.proxy}", rdns=True).connect(host, port)
        return await super().create_connection(protocol_factory, sock=socket, **options)


class Peer(ClientXMPP):
    """One account."""

    def __init__(self, jid: str, password: str, ca_file: str) -> None:
        super().__init__(jid, password)
        self.ca_certs = Path(ca_file)
        self.enable_direct_tls = False
        self.register_plugin("xep_0198")
        for event, said in (("session_start", "session new"), ("session_resumed", "session resumed")):
            self.add_event_handler(event, lambda _, said=said: self._in_session(said))
        self.add_event_handler("message", self._message)
        self.add_event_handler("connection_failed", lambda reason: say(f"failed {reason}"))

    def dial(self) -> None:
        # With a host given there is no look-up of SRV records, which would tell the name to the resolver.
        self.connect(self.boundjid.domain, PORT)

    def _in_session(self, said: str) -> None:
        self.send_presence()
        say(said)

    def _message(self, message: Message) -> None:
        if message["body"]:
            say(f"message {message['from'].bare} {message['body']}")


def say(line: str) -> None:
    print(line.replace("\n", " "), flush=True)


async def obey(loop: SocksLoop, peer: Peer) -> None:
    """Commands, until `quit` or the input's end."""
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := (await commands.readline()).decode():
        match line.split(maxsplit=2):
            case ["connect"]:
                peer.dial()
            case ["proxy", address]:
                loop.proxy = address
                peer.abort()
                peer.dial()
            case ["send", jid, text]:
                peer.send_message(mto=JID(jid), mbody=text.strip())
            case _:
                return


def main() -> None:
    loop = SocksLoop()
    asyncio.set_event_loop(loop)
    peer = Peer(*sys.argv[1:])
    loop.run_until_complete(obey(loop, peer))


if __name__ == "__main__":
    main()
