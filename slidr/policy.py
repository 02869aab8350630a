"""The operating policy: observe or enforce per marketplace and advertiser, allow-lists, one kill switch."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final

import msgspec

from slidr.errors import PolicyInvalid
from slidr.verdict import Mode

POLICY_ITEM: Final = "policy"
"""Name of the policy's item in the control table."""
DEFAULT: Final = "default"
"""Where a mode stands that holds wherever no other is said."""


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
    generation: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Grows by one with every change; the condition of the write."""

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


def with_mode(policy: Policy, where: str, mode: Mode | None) -> Policy:
    """The policy with a mode for `where`: "default", a marketplace, "<marketplace>/<advertiser>" or "*/<advertiser>".

    Args:
        policy: the one in force.
        where: as above.
        mode: None says nothing of `where` any more: what is less specific holds again (for the default: observe).

    Raises:
        PolicyInvalid: `where` is none of these.

    >>> with_mode(with_mode(Policy(), "de", Mode.ENFORCE), "de/acme", Mode.OBSERVE).mode_of("de", "other").value
    'enforce'
    """
    if where == DEFAULT:
        return _next(policy, default=mode or Mode.OBSERVE)
    marketplace, slash, advertiser = where.partition("/")
    if not marketplace or (slash and not advertiser) or where in {"*", "*/*"}:
        raise PolicyInvalid(
            f"a mode is that of default, MARKETPLACE, MARKETPLACE/ADVERTISER or */ADVERTISER, came {where!r}."
        )
    modes = {key: said for key, said in policy.modes.items() if key != where} | ({where: mode} if mode else {})
    return _next(policy, modes=modes)


def with_kill_switch(policy: Policy, *, on: bool) -> Policy:
    """The policy with the kill switch on (every click is billed) or off (modes hold).

    >>> with_kill_switch(Policy(default=Mode.ENFORCE), on=True).mode_of("de", "acme").value
    'observe'
    """
    return _next(policy, kill_switch=on)


def with_allowed(
    policy: Policy,
    *,
    networks: tuple[str, ...] = (),
    advertisers: tuple[str, ...] = (),
    no_networks: tuple[str, ...] = (),
    no_advertisers: tuple[str, ...] = (),
) -> Policy:
    """The policy with these on its allow-lists, and those no more. Networks are CIDR, or one address.

    Raises:
        PolicyInvalid: no network, or what is to be taken off is not on the list.

    >>> with_allowed(Policy(), networks=("192.0.2.7",), advertisers=("house",)).allowed_networks
    ('192.0.2.7/32',)
    """
    return _next(
        policy,
        allowed_networks=_listed(
            policy.allowed_networks, tuple(map(_network, networks)), tuple(map(_network, no_networks))
        ),
        allowed_advertisers=_listed(policy.allowed_advertisers, advertisers, no_advertisers),
    )


def _listed(entries: tuple[str, ...], more: tuple[str, ...], less: tuple[str, ...]) -> tuple[str, ...]:
    missing = [entry for entry in less if entry not in entries]
    if missing:
        raise PolicyInvalid(
            f"an entry of the allow-list is required to take it off, came {', '.join(missing)}; on it are "
            f"{', '.join(entries) or 'none'}."
        )
    return tuple(dict.fromkeys(entry for entry in (*entries, *more) if entry not in less))


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as failure:
        raise PolicyInvalid(
            f"a network such as 192.0.2.0/24 or 2001:db8::/32, or one address, is required, came {text!r}: {failure}."
        ) from failure


def _next(policy: Policy, **changes: object) -> Policy:
    after = msgspec.structs.replace(policy, **changes)
    return policy if after == policy else msgspec.structs.replace(after, generation=policy.generation + 1)


@lru_cache(maxsize=65_536)
def _in_networks(ip: str, networks: tuple[str, ...]) -> bool:
    address = ipaddress.ip_address(ip)
    return any(address in ipaddress.ip_network(network) for network in networks)
