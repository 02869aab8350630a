"""Who clicks: every persona and robot family as one row of parameters. All of the simulator's numbers are here.

A *family* makes *visits*; a visit is one actor's run of clicks. People and robots come from the same generator
(`visits.py`) and differ only in the numbers below, so nothing but behaviour tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Hours = Literal["home", "commute", "office", "flat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a visit unfolds. Pairs are ranges; each visit draws its own value, log-uniformly for times."""

    clicks: float
    """Median clicks of a visit (lognormal)."""
    clicks_sigma: float
    clicks_max: int
    gap_s: tuple[float, float]
    """Range of a visit's median gap between clicks, seconds."""
    gap_sigma: tuple[float, float]
    """Range of the spread of the gaps within a visit: log standard deviation; 0.05 is a metronome, 1 is a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How an actor appears: accounts, cookies, sessions, devices."""

    days_between_visits: float
    """Actors = visits a day x this. Above 1 people return after days; below 1 a robot visits several times a day."""
    account_share: float
    """Actors with an account; only they log in."""
    login_rate: float
    """Visits of account holders made logged in."""
    cookie_share: float
    """Logged-out visits in which the actor is still recognised (a user id without a login)."""
    fresh_cookie_share: float = 0.0
    """Logged-out sessions that show a user id nobody has seen before."""
    session_clicks: int = 0
    """A new session id after this many clicks; 0 keeps one for the whole visit."""
    agent_per_session: bool = False
    """Whether the user agent changes with the session instead of staying with the actor."""
    mobile: float = 0.5
    tablet: float = 0.06
    crawler: bool = False
    """Whether the user agent names itself as a crawler, with device `other`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where an actor's clicks come from."""

    actors_per_ip: int = 1
    """Actors behind one address (an office, a farm)."""
    carrier_share: float = 0.0
    """Visits over a mobile carrier's NAT, whose addresses all families share."""
    keeps_ip_days: int = 5
    """An own address changes after so many days; 0: with every visit."""
    ipv6_share: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shopping:
    """What is clicked and bought."""

    buys_per_visit: float = 0.0
    """Probability that a logged-out visit leads to an order."""
    login_lift: float = 1.0
    """Factor on it for a logged-in visit."""
    amount: float = 38.0
    """Median order amount, in dollars."""
    in_category: float = 0.8
    """Clicks that stay in the visit's product category."""
    target_advertisers: int = 0
    """Advertisers that an actor attacks; 0: it clicks what a shopper would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One persona or robot family."""

    name: str
    robot: bool
    share: float
    """Share of all clicks over a week."""
    hours: Hours
    weekend: float
    """Saturday and Sunday traffic relative to a weekday's."""
    pace: Pace
    identity: Identity
    network: Network
    shopping: Shopping


DESKTOP_SHOPPER: Final = Family(
    name="desktop_shopper",
    robot=False,
    share=0.24,
    hours="home",
    weekend=1.2,
    pace=Pace(clicks=2.0, clicks_sigma=0.8, clicks_max=30, gap_s=(15, 150), gap_sigma=(0.7, 1.4)),
    identity=Identity(days_between_visits=4, account_share=0.7, login_rate=0.7, cookie_share=0.35, mobile=0.0),
    network=Network(),
    shopping=Shopping(buys_per_visit=0.11, login_lift=2.2),
)
MOBILE_SHOPPER: Final = Family(
    name="mobile_shopper",
    robot=False,
    share=0.27,
    hours="commute",
    weekend=1.3,
    pace=Pace(clicks=1.6, clicks_sigma=0.7, clicks_max=25, gap_s=(10, 100), gap_sigma=(0.7, 1.4)),
    identity=Identity(days_between_visits=3, account_share=0.7, login_rate=0.65, cookie_share=0.3, mobile=0.9),
    network=Network(carrier_share=0.45, ipv6_share=0.45),
    shopping=Shopping(buys_per_visit=0.08, login_lift=2.0, amount=27.0),
)
COMPARER: Final = Family(
    name="comparison_burst",
    robot=False,
    share=0.16,
    hours="home",
    weekend=1.4,
    pace=Pace(clicks=10.0, clicks_sigma=0.6, clicks_max=80, gap_s=(1.5, 12), gap_sigma=(0.4, 1.2)),
    identity=Identity(days_between_visits=6, account_share=0.75, login_rate=0.6, cookie_share=0.4, mobile=0.35),
    network=Network(carrier_share=0.1),
    shopping=Shopping(buys_per_visit=0.3, login_lift=1.6, amount=95.0, in_category=0.95),
)
OFFICE_GATEWAY: Final = Family(
    name="office_gateway",
    robot=False,
    share=0.12,
    hours="office",
    weekend=0.15,
    pace=Pace(clicks=2.2, clicks_sigma=0.8, clicks_max=30, gap_s=(8, 90), gap_sigma=(0.7, 1.4)),
    identity=Identity(days_between_visits=2, account_share=0.6, login_rate=0.6, cookie_share=0.35, mobile=0.1),
    network=Network(actors_per_ip=350, keeps_ip_days=365, ipv6_share=0.1),
    shopping=Shopping(buys_per_visit=0.09, login_lift=2.2),
)

FAST_SINGLE_IP: Final = Family(
    name="fast_single_ip",
    robot=True,
    share=0.05,
    hours="flat",
    weekend=1.0,
    pace=Pace(clicks=60.0, clicks_sigma=0.9, clicks_max=600, gap_s=(0.7, 8), gap_sigma=(0.2, 1.1)),
    identity=Identity(days_between_visits=0.6, account_share=0.0, login_rate=0.0, cookie_share=0.4, mobile=0.4),
    network=Network(keeps_ip_days=3, ipv6_share=0.1),
    shopping=Shopping(target_advertisers=3),
)
SLOW_REGULAR: Final = Family(
    name="slow_regular",
    robot=True,
    share=0.035,
    hours="flat",
    weekend=1.0,
    pace=Pace(clicks=40.0, clicks_sigma=0.6, clicks_max=300, gap_s=(100, 1500), gap_sigma=(0.02, 0.3)),
    identity=Identity(
        days_between_visits=0.9, account_share=0.0, login_rate=0.0, cookie_share=0.5, session_clicks=4, mobile=0.5
    ),
    network=Network(keeps_ip_days=10),
    shopping=Shopping(target_advertisers=8),
)
DISTRIBUTED: Final = Family(
    name="distributed",
    robot=True,
    share=0.03,
    hours="flat",
    weekend=1.0,
    pace=Pace(clicks=1.5, clicks_sigma=0.6, clicks_max=8, gap_s=(4, 400), gap_sigma=(0.3, 1.0)),
    identity=Identity(
        days_between_visits=3, account_share=0.0, login_rate=0.0, cookie_share=0.1, fresh_cookie_share=0.2, mobile=0.55
    ),
    network=Network(keeps_ip_days=0, carrier_share=0.05, ipv6_share=0.25),
    shopping=Shopping(target_advertisers=5),
)
SESSION_ROTATING: Final = Family(
    name="session_rotating",
    robot=True,
    share=0.04,
    hours="flat",
    weekend=1.0,
    pace=Pace(clicks=50.0, clicks_sigma=0.8, clicks_max=500, gap_s=(5, 60), gap_sigma=(0.3, 1.2)),
    identity=Identity(
        days_between_visits=0.8,
        account_share=0.0,
        login_rate=0.0,
        cookie_share=0.0,
        fresh_cookie_share=0.5,
        session_clicks=2,
        agent_per_session=True,
        mobile=0.5,
    ),
    network=Network(keeps_ip_days=2, carrier_share=0.15),
    shopping=Shopping(target_advertisers=12),
)
HUMAN_HOURS_FARM: Final = Family(
    name="headless_farm",
    robot=True,
    share=0.032,
    hours="commute",
    weekend=1.1,
    pace=Pace(clicks=7.0, clicks_sigma=0.6, clicks_max=60, gap_s=(4, 40), gap_sigma=(0.4, 1.0)),
    identity=Identity(days_between_visits=0.25, account_share=0.35, login_rate=0.8, cookie_share=0.6, mobile=0.85),
    network=Network(actors_per_ip=12, carrier_share=0.25, keeps_ip_days=4),
    shopping=Shopping(in_category=0.6),
)
POISONER: Final = Family(
    name="click_then_buy",
    robot=True,
    share=0.008,
    hours="home",
    weekend=1.0,
    pace=Pace(clicks=9.0, clicks_sigma=0.6, clicks_max=60, gap_s=(3, 30), gap_sigma=(0.3, 1.0)),
    identity=Identity(days_between_visits=0.3, account_share=1.0, login_rate=0.95, cookie_share=0.5, mobile=0.5),
    network=Network(actors_per_ip=6, keeps_ip_days=4),
    shopping=Shopping(buys_per_visit=0.1, amount=6.0, target_advertisers=6),
)
CRAWLER: Final = Family(
    name="named_crawler",
    robot=True,
    share=0.015,
    hours="flat",
    weekend=1.0,
    pace=Pace(clicks=30.0, clicks_sigma=0.8, clicks_max=300, gap_s=(2, 60), gap_sigma=(0.1, 0.8)),
    identity=Identity(
        days_between_visits=0.5, account_share=0.0, login_rate=0.0, cookie_share=0.0, session_clicks=1, crawler=True
    ),
    network=Network(keeps_ip_days=30, ipv6_share=0.05),
    shopping=Shopping(in_category=0.3),
)

FAMILIES: Final[tuple[Family, ...]] = (
    DESKTOP_SHOPPER,
    MOBILE_SHOPPER,
    COMPARER,
    OFFICE_GATEWAY,
    FAST_SINGLE_IP,
    SLOW_REGULAR,
    DISTRIBUTED,
    SESSION_ROTATING,
    HUMAN_HOURS_FARM,
    POISONER,
    CRAWLER,
)
ROBOTS: Final = frozenset(family.name for family in FAMILIES if family.robot)
"""Names of the robot families."""
GIVT_FAMILY: Final = CRAWLER.name
"""The one family that the crawler list finds; it is not the model's to find."""

ORGANIC_ORDERS_PER_CLICK: Final = 0.02
"""Orders of account holders that no ad click led to, relative to clicks; they make RFM and must not be attributed."""
PEOPLE_PER_CARRIER_IP: Final = 400
"""Daily visits over carrier NAT for each of its addresses."""

# How strongly the events of a world show (events.py says which there are and when).
PURCHASES_BY_DAY: Final = 0.25
"""Log standard deviation of the purchase rate from day to day."""
PURCHASES_BY_HOUR: Final = 0.2
"""The same from hour to hour within a day."""
SALE_TRAFFIC: Final = 1.8
"""Factor on the visits of people on a sale day."""
SALE_PURCHASES: Final = 1.5
"""Factor on their probability to buy."""
