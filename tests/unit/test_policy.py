"""Who is billed by verdicts: modes, allow-lists, kill switch, pointer changes."""

from __future__ import annotations

import pytest

from slidr.pointer import Pointer, promoted
from slidr.policy import Policy
from slidr.verdict import Decision, Mode, is_billable


def test_new_marketplaces_and_advertisers_start_in_observe_mode() -> None:
    assert Policy().mode_of("de", "acme") is Mode.OBSERVE


@pytest.mark.parametrize(
    ("modes", "mode"),
    [
        ({"de": Mode.ENFORCE}, Mode.ENFORCE),
        ({"de": Mode.ENFORCE, "*/acme": Mode.OBSERVE}, Mode.OBSERVE),
        ({"*/acme": Mode.OBSERVE, "de/acme": Mode.ENFORCE}, Mode.ENFORCE),
        ({"fr": Mode.ENFORCE, "de/other": Mode.ENFORCE}, Mode.OBSERVE),
    ],
)
def test_the_most_specific_mode_wins(modes: dict[str, Mode], mode: Mode) -> None:
    assert Policy(modes=modes).mode_of("de", "acme") is mode


def test_the_kill_switch_puts_all_traffic_in_observe_mode() -> None:
    policy = Policy(default=Mode.ENFORCE, modes={"de/acme": Mode.ENFORCE}, kill_switch=True)

    assert policy.mode_of("de", "acme") is Mode.OBSERVE


def test_allows_networks_of_both_address_families_and_advertisers() -> None:
    policy = Policy(allowed_networks=("192.0.2.0/24", "2001:db8::/32"), allowed_advertisers=("house",))

    assert policy.allows(ip="192.0.2.200", advertiser="acme")
    assert policy.allows(ip="2001:db8::1", advertiser="acme")
    assert policy.allows(ip=None, advertiser="house")
    assert not policy.allows(ip="198.51.100.1", advertiser="acme")
    assert not policy.allows(ip=None, advertiser="acme")


def test_refuses_an_allowed_network_that_is_none() -> None:
    with pytest.raises(ValueError, match="not appear to be an IPv4 or IPv6 network"):
        Policy(allowed_networks=("everyone",))


@pytest.mark.parametrize("decision", list(Decision))
@pytest.mark.parametrize("mode", list(Mode))
def test_only_an_enforced_invalid_click_is_not_billed(decision: Decision, mode: Mode) -> None:
    assert is_billable(decision, mode) is not (decision is Decision.INVALID and mode is Mode.ENFORCE)


def test_promotion_raises_the_generation_and_leaves_stable_alone() -> None:
    before = Pointer(champion="r-1", stable="r-0", challenger="r-2", canary_share=0.1, generation=7)

    after = promoted(before, "r-2")

    assert after == Pointer(champion="r-2", stable="r-0", challenger=None, canary_share=0.0, generation=8)


def test_a_champion_is_not_its_own_shadow() -> None:
    assert Pointer(champion="r-1", challenger="r-1").shadows == ()
    assert Pointer(champion="r-1", challenger="r-2").shadows == ("r-2",)
