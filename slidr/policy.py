"""The operating policy: observe or enforce per marketplace and advertiser, allow-lists, one kill switch."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from slidr.verdict import Mode

POLICY_ITEM: Final = "policy"
"""Name of the policy's item in the control table."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Who is billed by SLIDR's verdicts. New marketplaces and advertisers start in observe mode.

    The most specific entry wins: "<marketplace>/<advertiser>", "*/<advertiser>", "<marketplace>", then `default`.
    """

    default: Mode = Mode.OBSERVE
    modes: Mapping[str, Mode] = {}
    kill_switch: bool = False
    """True puts all traffic in observe mode, whatever else is said."""
    allowed_networks: tuple[str, ...] = ()
    """CIDR networks whose clicks are always VALID (test traffic, partners)."""
    allowed_advertisers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for network in self.allowed_networks:
            ipaddress.ip_network(network)

    def mode_of(self, marketplace: str, advertiser: str) -> Mode:
        """The mode for a click.

        >>> Policy(modes={"de": Mode.ENFORCE, "de/acme": Mode.OBSERVE}).mode_of("de", "acme").value
        'observe'
        """
        if self.kill_switch:
            return Mode.OBSERVE
        for key in (f"{marketplace}/{advertiser}", f"*/{advertiser}", marketplace):
            mode = self.modes.get(key)
            if mode is not None:
                return mode
        return self.default

    def allows(self, *, ip: str | None, advertiser: str) -> bool:
        """Whether a click is on an allow-list.

        >>> Policy(allowed_networks=("192.0.2.0/24",)).allows(ip="192.0.2.9", advertiser="acme")
        True
        """
        if advertiser in self.allowed_advertisers:
            return True
        return ip is not None and bool(self.allowed_networks) and _in_networks(ip, self.allowed_networks)


@lru_cache(maxsize=65_536)
def _in_networks(ip: str, networks: tuple[str, ...]) -> bool:
    address = ipaddress.ip_address(ip)
    return any(address in ipaddress.ip_network(network) for network in networks)
