"""The loose reading of paths."""

from __future__ import annotations

import pytest

from policies.lookalike import literal, loose
from policies.route import parse_pattern
from policies.trie import Trie

ITEM = Trie([(0, parse_pattern("/item"))], folded=True)


@pytest.mark.parametrize(
    "path",
    [
        "/PAID/Item",
        "/paid/item/",
        "/paid%E2%88%95item",
        "/paid%EF%BC%8Fitem",
        "/%EF%BD%90aid/item",
        "/paid/ite%E2%80%8Bm",
        "/paid/item%20",
        "/%20paid/item",
        "/pa%C3%ADd/item",
        "/a%2F..%2Fpaid%2Fitem",
        "/free/..;/paid/item",
        "/free/%252e%252e/paid/item",
        "/;x/paid/item",
        "/free/x%EF%BC%8F..%EF%BC%8F..%EF%BC%8Fpaid/item",
        "/free/%E2%80%A5/paid/item",
    ],
)
def test_readings_of_one_path(path: str) -> None:
    """All of these are /paid/item to some server."""
    assert loose(path) == ("paid", "item")


@pytest.mark.parametrize(
    "segment",
    [
        "item.",
        "item.json",
        "item;x=1",
        "item::$data",
        "item:80",
        "item+",
        "item,",
        "item~",
        "item ",
        "item*",
        "item",
    ],
)
def test_suffixes_some_server_drops(segment: str) -> None:
    """The literal, and then something that is no part of a name everywhere."""
    assert ITEM.find([segment])


@pytest.mark.parametrize("segment", ["items", "item-2", "item_2", "ite", "xitem", "item2"])
def test_other_names(segment: str) -> None:
    """Another name is another name."""
    assert not ITEM.find([segment])


def test_folding_is_bounded() -> None:
    """Escapes are undone a few times over; what is left is no look-alike of a plain path."""
    deep = "/" + "%25" * 1 + "25" * 2000 + "41"
    assert loose(deep)
    assert literal("Caf%C3%89") == "cafe"
