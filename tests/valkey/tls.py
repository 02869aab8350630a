"""Transit encryption for servers that have none built in: certificates made here, and a terminator before them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Authority:
    """A certificate authority of its own; whoever reads `file` trusts it."""

    file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(self, *names: str) -> Path:
        """A server's certificate and key for host names and addresses, in one PEM file."""
        key = ec.generate_private_key(ec.SECP256R1())
        draft = _draft(names[0], key, issuer=self.certificate.subject, issuer_key=self.key)
        draft = draft.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        draft = draft.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        file = self.file.with_name(f"{self.file.stem}-{names[0]}.pem")
        file.write_bytes(_pem(draft.sign(self.key, hashes.SHA256())) + _pem_key(key))
        return file


def new_authority(folder: Path, name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    draft = _draft(name, key, issuer=subject, issuer_key=key)
    draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    draft = draft.add_extension(_may_sign_certificates(), critical=True)
    certificate = draft.sign(key, hashes.SHA256())
    file = folder / f"{name}.pem"
    file.write_bytes(_pem(certificate))
    return Authority(file, certificate, key)


@dataclass
class Terminator:
    """Takes TLS connections at `port` and passes what they say to the server at `target`, in clear."""

    target: int
    certificate: Path
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    port: int = 0
    passed_on: int = 0
    """Connections that got past the handshake: what anyone on them said reached the server."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _clients: set[asyncio.StreamWriter] = field(default_factory=set)

    @contextlib.contextmanager
    def running(self) -> Iterator[Terminator]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.oldest < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = self.oldest, self.newest
        context.load_cert_chain(self.certificate)
        self._loop.set_exception_handler(lambda _loop, _what: None)  # refused handshakes are what the tests are about
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, HOST, self.port, ssl=context))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(server), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passed_on += 1
        self._clients.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            onward, out = await asyncio.open_connection(HOST, self.target)
            try:
                await _either(_copy(reader, out), _copy(onward, writer))
            finally:
                out.transport.abort()
        writer.close()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        open_connections = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_connections:
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)
        for client in self._clients:  # a client that left does not answer TLS's good-bye
            client.transport.abort()
        await asyncio.sleep(0.01)  # transports close in the loop's next turns


async def _either(*ways: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


def _draft(
    name: str, key: ec.EllipticCurvePrivateKey, *, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _may_sign_certificates() -> x509.KeyUsage:
    rights = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    none = dict.fromkeys((*rights, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(key_cert_sign=True, **none)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    clear = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, clear)
