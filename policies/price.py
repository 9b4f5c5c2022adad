"""Prices: every form INTERFACE section 2 knows, read strictly and evaluated without guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.condition import BadCondition, Condition, condition
from policies.facts import MISSING, RequestFacts, Unclear
from policies.money import BadMoney, Money, atomic, not_below, parse_money

Key = str | int


class PriceError(ValueError):
    """A price that cannot be read; ``at`` leads from the price to the offending value."""

    def __init__(self, message: str, at: tuple[Key, ...] = ()) -> None:
        super().__init__(message)
        self.at = at


class AmbiguousPrice(Exception):
    """The request does not say clearly what it costs: 400 ``ambiguous_price``."""


@dataclass(frozen=True, slots=True)
class Free:
    """Costs nothing."""

    def __str__(self) -> str:
        return "free"


FREE = Free()


@dataclass(frozen=True, slots=True)
class Clause:
    """A price that applies when every condition holds."""

    conditions: tuple[Condition, ...]
    price: Money

    def __str__(self) -> str:
        return f"{self.price} when {' and '.join(map(str, self.conditions))}"

    def holds(self, facts: RequestFacts) -> bool | Unclear:
        """False as soon as one condition fails; otherwise unclear as soon as one is."""
        return all_hold(self.conditions, facts)


@dataclass(frozen=True, slots=True)
class Conditional:
    """The first clause that holds, else ``otherwise``."""

    clauses: tuple[Clause, ...]
    otherwise: Money

    def __str__(self) -> str:
        return "; ".join([*map(str, self.clauses), f"else {self.otherwise}"])


Paid = Money | Conditional
Price = Free | Paid


def all_hold(conditions: Sequence[Condition], facts: RequestFacts) -> bool | Unclear:
    """Whether all conditions hold: one clear no decides, then one unclear value does."""
    unclear: Unclear | None = None
    for each in conditions:
        held = each.holds(facts)
        if held is False:
            return False
        if isinstance(held, Unclear):
            unclear = held
    return unclear or True


def moneys(price: Price) -> tuple[Money, ...]:
    """Every amount a price can come to, in the order it is written."""
    if isinstance(price, Free):
        return ()
    if isinstance(price, Conditional):
        return (*(clause.price for clause in price.clauses), price.otherwise)
    return (price,)


def at_least(one: Price, other: Price) -> bool:
    """Whether ``one`` is never cheaper than ``other``, whatever the request says."""
    if one == other or isinstance(other, Free):
        return True
    mine = moneys(one)
    return bool(mine) and all(not_below(each, theirs) for theirs in moneys(other) for each in mine)


def needs_body(price: Price) -> bool:
    """Whether telling the price takes reading the request body."""
    return isinstance(price, Conditional) and any(
        each.needs_body for clause in price.clauses for each in clause.conditions
    )


def evaluate(price: Paid, facts: RequestFacts) -> Money:
    """What this request costs; AmbiguousPrice where it does not say so clearly.

    An unclear value means ``else`` where that is the dearest price, and a refusal otherwise:
    it never leads to a cheaper price.
    """
    return explain(price, facts)[0]


def explain(price: Paid, facts: RequestFacts) -> tuple[Money, str]:
    """As :func:`evaluate`, with the reason in words."""
    if not isinstance(price, Conditional):
        return price, "one price for every request"
    for clause in price.clauses:
        held = clause.holds(facts)
        if held is True:
            return clause.price, f"because {' and '.join(map(str, clause.conditions))}"
        if isinstance(held, Unclear):
            return _unclear(price, clause, held)
    return price.otherwise, "because no condition holds"


def _unclear(price: Conditional, clause: Clause, why: Unclear) -> tuple[Money, str]:
    names = ", ".join(f"{each.source}.{each.name}" for each in clause.conditions)
    if all(not_below(price.otherwise, each.price) for each in price.clauses):
        return price.otherwise, f"because {names} is {why.value}, and `else` is the dearest price"
    what = "is missing" if why is MISSING else "does not have exactly one meaning"
    raise AmbiguousPrice(f"the price depends on {names}, which {what}")


def parse_price(raw: object) -> Price:
    """Read a price as it stands in a configuration; PriceError says what is wrong, and where in it."""
    if raw == "free":
        return FREE
    if isinstance(raw, Mapping) and ("when" in raw or "else" in raw):
        return _conditional(raw)
    return _money(raw, ())


def _money(raw: object, at: tuple[Key, ...]) -> Money:
    try:
        if isinstance(raw, str):
            return parse_money(raw)
        if isinstance(raw, Mapping):
            return _atomic(raw, at)
        if isinstance(raw, int) and not isinstance(raw, bool):
            return parse_money(str(raw))
    except BadMoney as error:
        raise PriceError(str(error), at) from error
    raise PriceError("not a price: write `free`, `$0.01`, `0.01 USDC`, {amount, asset} or {when, else}", at)


def _atomic(raw: Mapping[object, object], at: tuple[Key, ...]) -> Money:
    _only_keys(raw, ("amount", "asset"), at)
    amount, asset = raw["amount"], raw["asset"]
    if not isinstance(amount, str | int) or isinstance(amount, bool):
        raise PriceError("an amount in atomic units is a whole number", (*at, "amount"))
    if not isinstance(asset, str) or not asset or " " in asset:
        raise PriceError("must be the symbol of an asset", (*at, "asset"))
    try:
        return atomic(amount, asset)
    except BadMoney as error:
        raise PriceError(str(error), (*at, "amount")) from error


def _only_keys(raw: Mapping[object, object], keys: tuple[str, ...], at: tuple[Key, ...]) -> None:
    for key in raw:
        if key not in keys:
            raise PriceError(f"unknown key (known here: {', '.join(keys)})", (*at, str(key)))
    for key in keys:
        if key not in raw:
            raise PriceError(f"`{key}` is missing", at)


def _conditional(raw: Mapping[object, object]) -> Conditional:
    _only_keys(raw, ("when", "else"), ())
    when = raw["when"]
    if not isinstance(when, list) or not when:
        raise PriceError("must be a list of conditions, each with a price", ("when",))
    clauses = tuple(_clause(each, ("when", index)) for index, each in enumerate(when))
    return Conditional(clauses, _priced(raw["else"], ("else",)))


def _clause(raw: object, at: tuple[Key, ...]) -> Clause:
    if not isinstance(raw, Mapping) or "price" not in raw:
        raise PriceError("must be conditions with a `price`: {query.size: large, price: $0.03}", at)
    conditions = tuple(_condition(str(key), value, at) for key, value in raw.items() if key != "price")
    if not conditions:
        raise PriceError("a price in `when` needs a condition", at)
    return Clause(conditions, _priced(raw["price"], (*at, "price")))


def _priced(raw: object, at: tuple[Key, ...]) -> Money:
    if raw == "free":
        raise PriceError("cannot be free: write a free route with these conditions in `match`", at)
    return _money(raw, at)


def _condition(key: str, value: object, at: tuple[Key, ...]) -> Condition:
    source, _, name = key.partition(".")
    try:
        return condition(source, name, glob_text(value))
    except BadCondition as error:
        raise PriceError(str(error), (*at, key)) from error


def glob_text(value: object) -> str:
    """A configured value as the text it is compared with; BadCondition for anything but a scalar."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise BadCondition("must be text, a whole number, true or false")
