"""Calls to servers that users name: the address is looked at before the connection is made, and it is made to that one.

So a name that leads into the own network, or comes to lead there between the look and the call, gives no way in.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

import httpx

from drystone.core.errors import Invalid, Unavailable

# Nobody is called there, whether or not the internet leads there. Source: IANA's special-purpose address registries and
# multicast (224.0.0.0/4). Named here, since what Python knows of them differs from release to release.
_SPECIAL_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
            "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
            "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
# Of IPv6 only this is given out; special within it: IETF protocols with Teredo, documentation, 6to4, AS112.
_GIVEN_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
# An address here stands for the IPv4 address in its last 32 bits: mapped by the system, translated by NAT64.
_CARRIES_V4 = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))


class Caller:
    """Posts to URLs. allow_private: also to this machine and to private networks.

    No proxy, no redirect, no connection that is used twice: it would be one that was checked for another name.
    """

    def __init__(self, *, allow_private: bool, timeout_s: float) -> None:
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            trust_env=False,
            follow_redirects=False,
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer; its body is not read. Raises Unavailable when there is none."""
        try:
            async with asyncio.timeout(self._timeout_s):
                parts = check_url(url)
                address = await self._resolve(parts)
                return await self._send(parts, address, body, headers)
        except TimeoutError as exc:
            raise _no_answer(f"took longer than {self._timeout_s:g} s") from exc
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
            raise _no_answer(str(exc) or type(exc).__name__) from exc

    async def _send(self, parts: SplitResult, address: str, body: bytes, headers: Mapping[str, str]) -> int:
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        request = self._http.build_request(
            "POST",
            f"{parts.scheme}://{host}{port}{parts.path or '/'}{'?' + parts.query if parts.query else ''}",
            content=body,
            headers={**headers, "Host": parts.netloc},
            extensions={"sni_hostname": parts.hostname},
        )
        response = await self._http.send(request, stream=True)
        await response.aclose()
        return response.status_code

    async def _resolve(self, parts: SplitResult) -> str:
        """The address to connect to. Raises Unavailable when there is none that may be called."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(parts.hostname, parts.port or 0, type=socket.SOCK_STREAM)
        addresses = [str(info[4][0]) for info in found]
        for address in addresses:
            if self._allow_private or is_public(address):
                return address
        raise Unavailable(
            "webhook.private_address",
            f"{parts.hostname} leads to {addresses[0]}, which is no public address.",
            hint="set WEBHOOK_ALLOW_PRIVATE=true to call servers of your own network",
        )


def check_url(url: str) -> SplitResult:
    """The parts of a URL that may be called. Raises Invalid."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not url.isascii() or any(c.isspace() for c in url) or "@" in parts.netloc or parts.fragment:
        raise Invalid(
            "webhook.bad_url",
            "The URL is none that can be called.",
            hint="http:// or https://, a host, no user, no fragment, only ASCII: https://example.org/hooks/drystone",
            pointer="/url",
        )
    return parts


def check_literal(url: str, *, allow_private: bool) -> None:
    """Raise Invalid when the URL names an address of the own network outright."""
    host = check_url(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        is_private = host == "localhost" or host.endswith(".localhost")
    else:
        is_private = not is_public(host)
    if is_private and not allow_private:
        raise Invalid(
            "webhook.private_address",
            f"{host} is no public address.",
            hint="set WEBHOOK_ALLOW_PRIVATE=true to call servers of your own network",
            pointer="/url",
        )


def is_public(address: str) -> bool:
    """Whether it is an ordinary address of the internet: none that IANA lists as special, nor one that carries such a one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and any(ip in network for network in _CARRIES_V4):
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _SPECIAL_V4)
    return ip in _GIVEN_V6 and not any(ip in network for network in _SPECIAL_V6)


def _no_answer(why: str) -> Unavailable:
    return Unavailable(
        "webhook.no_answer", f"No answer: {why[:300]}.", hint="check that the server behind the URL runs"
    )
