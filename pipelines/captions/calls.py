"""One HTTP call to an endpoint: to an address that was checked, whole within a deadline, never on to another host."""

import email.utils
import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx2

MAX_REPLY_BYTES = 1 << 20
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class UnreachableError(Exception):
    """No whole reply came: no connection, or not in time. The message is a sentence; another try may go well."""


class ForbiddenAddressError(Exception):
    """The host has an address that a request must not go to. The message is a sentence."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes
    retry_after_seconds: float | None
    location: str | None


def addresses(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system resolves it: also of `127.1`, `2130706433`, and names that hide one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UnreachableError(f"{host}: the name has no address ({error})") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def forbidden(text: str, *, private: bool) -> str | None:
    """Why no request may go to an address; None where it may. `private` allows loopback and private networks."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    if address.is_link_local:
        return "is link-local, where clouds keep their secrets"
    if address.is_multicast or address.is_unspecified:
        return "is no host"
    if not address.is_global and not private:
        return "is loopback or private; say `private: true` if that is meant"
    if address.is_reserved and not address.is_private:
        return "is reserved"
    return None


@dataclass(frozen=True)
class Caller:
    """Posts JSON to one host. Safe to share between threads."""

    timeout_seconds: float
    """For the whole of a call."""
    private: bool = False
    ca_file: Path | None = None
    """Of an authority of one's own, in PEM; the system's where None."""
    resolve: Resolve = addresses

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def post(self, url: str, *, headers: Mapping[str, str], body: Mapping[str, Any]) -> Reply:
        """The reply, whatever its status. The host is resolved once, every address checked, and one of those called.

        Raises: ForbiddenAddressError; UnreachableError where no whole reply comes in time.
        """
        import httpx2

        deadline = time.monotonic() + self.timeout_seconds
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        found = self.resolve(host, port)
        for address in found:
            if why := forbidden(address, private=self.private):
                raise ForbiddenAddressError(f"{host} is {address}, which {why}")
        failed = "has no address"
        named = {**headers, "host": parts.netloc, "accept-encoding": "identity"}
        for address in found:
            asked = httpx2.Request(
                "POST",
                httpx2.URL(url).copy_with(host=address),
                headers=named,
                json=body,
                extensions={"sni_hostname": host},
            )
            left = max(deadline - time.monotonic(), 0.001)
            try:
                with httpx2.Client(verify=self._tls, trust_env=False, timeout=left) as client:
                    return whole(client.send(asked, stream=True, follow_redirects=False), deadline=deadline)
            except httpx2.ConnectError as error:
                failed = f"cannot be reached ({error})"
            except httpx2.TimeoutException:
                raise UnreachableError(f"{host} gave no whole reply within {self.timeout_seconds:g} s") from None
            except httpx2.RequestError as error:
                raise UnreachableError(f"{host} broke off ({type(error).__name__}: {error})") from None
        raise UnreachableError(f"{host} {failed}")


def whole(reply: "httpx2.Response", *, deadline: float) -> Reply:
    """The reply, read piece by piece: a server that dribbles gets no more time than one that is silent."""
    import httpx2

    try:
        body = bytearray()
        for piece in reply.iter_raw():
            body += piece
            if time.monotonic() > deadline:
                raise httpx2.ReadTimeout("the reply is too slow")
            if len(body) > MAX_REPLY_BYTES:
                raise UnreachableError(f"its reply is over {MAX_REPLY_BYTES} bytes")
    finally:
        reply.close()
    headers = reply.headers
    return Reply(reply.status_code, bytes(body), seconds_of(headers.get("retry-after")), headers.get("location"))


def seconds_of(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or a date (RFC 9110, 10.2.3), as seconds from now; None where there is none."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
        return None if math.isnan(seconds) else max(0.0, seconds)
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
