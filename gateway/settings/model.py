"""The configuration's shape: one class per section, every key of INTERFACE section 2 that exists.

Shape only: what refers to something else is judged where it is compiled. Keys that come with
later features are unknown until then. The JSON schema is generated from these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from facilitator.packing import MOST
from gateway.settings.scalars import (
    Admin,
    Blank,
    Boolean,
    Duration,
    EthAddress,
    Gwei,
    HttpUrl,
    Listen,
    Many,
    Micros,
    OneOrMany,
    Positive,
    Range,
    RpcUrl,
    Secret,
    Size,
    StoreUrl,
    Whole,
)

Text = Annotated[str, Field(min_length=1)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(pattern=r"^[^\x00-\x20\x7f/]+$", max_length=64)]


def said(text: str | int) -> Any:
    """A default, as it would be written in the file."""
    return Field(default=text, validate_default=True)


class Section(BaseModel):
    """A mapping that knows all its keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _either(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(schemas)})


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}


class Cors(Section):
    """Who may read priced answers in a browser."""

    origins: Annotated[tuple[Text, ...], OneOrMany, _either(_TEXT, _TEXTS)] = ("*",)


class Server(Section):
    """The listeners and their limits; times in seconds, sizes in bytes."""

    listen: Listen = said("127.0.0.1:8402")
    admin: Admin = said("127.0.0.1:8403")
    public_url: HttpUrl = "http://127.0.0.1:8402"
    workers: Annotated[int, Field(ge=1, le=256), Whole] = 1
    max_request_body: Size = said("10MiB")
    max_response_body: Size = said("32MiB")
    header_timeout: Duration = said("10s")
    body_timeout: Duration = said("30s")
    keepalive_timeout: Duration = said("75s")
    max_connections: Positive = 10_000
    drain_timeout: Duration = said("25s")
    max_buffered: Size = said("256MiB")
    trusted_proxies: Annotated[tuple[Range, ...], Many] = ()
    cors: Cors = Field(default_factory=Cors)
    admin_token: Annotated[Secret | None, Blank] = None

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """``("*",)``, or the origins that may read."""
        return self.cors.origins


class Store(Section):
    """Where payments are kept; times in seconds, sizes in bytes."""

    url: StoreUrl = "embedded"
    path: Text = "./tollway-data"
    replay_window: Duration = said("24h")
    redeem_window: Duration = said("15m")
    max_answer: Size = said("1MiB")
    max_answers: Size = said("512MiB")
    durability: Literal["strict", "accept_loss"] = "strict"
    wait_replicas: Annotated[int, Field(ge=0, le=16), Whole] = 0


class AssetEntry(Section):
    """A token; ``name`` and ``version`` are its EIP-712 domain."""

    address: EthAddress
    decimals: Annotated[int, Field(ge=0, le=77), Whole]
    name: Text
    version: Text


class ForeignAssetEntry(Section):
    """A token where there is no EVM: only a facilitator understands its address."""

    address: Line
    decimals: Annotated[int, Field(ge=0, le=77), Whole]


class ForeignNetworkEntry(Section):
    """A network that is not EVM, by its CAIP-2 id: a remote facilitator verifies and settles there."""

    settle_within: Duration = said("30s")
    assets: Annotated[dict[Name, ForeignAssetEntry], Field(min_length=1)]


class NetworkEntry(Section):
    """A network of one's own, or what differs from the built-in one of that name."""

    chain_id: Annotated[int, Field(ge=1, lt=2**53), Whole] | None = None
    v1_name: Text | None = None
    rpc: Annotated[tuple[RpcUrl, ...], OneOrMany, _either(_TEXT, _TEXTS)] = ()
    confirmations: Positive = 1
    finality: Positive = 64
    settle_within: Duration = said("30s")
    max_fee_gwei: Gwei = said(50)
    assets: dict[Name, AssetEntry] = {}


class UpstreamEntry(Section):
    """An API behind the gateway."""

    url: HttpUrl
    timeout: Duration = said("30s")
    connect_timeout: Duration = said("5s")
    host: Literal["upstream", "preserve"] = "upstream"
    headers: dict[str, Line] = {}


class FacilitatorEntry(Section):
    """Who verifies and settles."""

    mode: Literal["local", "remote", "hybrid"] = "local"
    key: Annotated[tuple[Secret, ...], OneOrMany, _either(_TEXT, _TEXTS)] = ()
    url: Annotated[tuple[HttpUrl, ...], OneOrMany, _either(_TEXT, _TEXTS)] = ()
    headers: dict[str, Secret] = {}
    timeout: Duration = said("3s")
    verify_on_chain_over: Micros | None = said("$1")
    allow_http: Annotated[tuple[Text, ...], OneOrMany, _either(_TEXT, _TEXTS)] = ()


def _by_network(value: object) -> object:
    return {"*": value} if isinstance(value, str) else value


Receivers = Annotated[
    dict[str, Line],
    BeforeValidator(_by_network),
    _either(_TEXT, {"type": "object", "additionalProperties": _TEXT}),
]


class BatchEntry(Section):
    """How settlements that are due together share a transaction; times in seconds."""

    max_wait: Annotated[Duration, Field(le=5)] = said("200ms")
    max_size: Annotated[int, Field(ge=1, le=MOST), Whole] = 100


class X402Entry(Section):
    """Being paid by x402."""

    pay_to: Receivers
    networks: Annotated[tuple[Text, ...], Many, Field(min_length=1)]
    max_timeout: Duration = said("300s")
    protocols: Annotated[tuple[Literal["v1", "v2"], ...], Many, Field(min_length=1)] = ("v1", "v2")
    exclusive: Boolean = True
    batch: BatchEntry = Field(default_factory=BatchEntry)
    facilitator: FacilitatorEntry = Field(default_factory=FacilitatorEntry)
    facilitators: dict[str, FacilitatorEntry] = {}


class ConxaEntry(Section):
    """Being paid from CONXA wallets; times in seconds."""

    base_url: HttpUrl = "https://api.conxa.in"
    api_key: Secret
    provider_id: Annotated[str, Field(pattern=r"^[!-~]+$", max_length=200)] | None = None
    provider_type: Literal["api", "web"] = "api"
    accept_sessions: Boolean = False
    timeout: Duration = said("30s")
    settle_within: Duration = said("30s")
    rate_limit_timeout: Duration = said("10s")


class FacilitatorServerEntry(Section):
    """Being a facilitator for other people's servers (`tollway facilitator`); sizes in bytes."""

    listen: Listen = said("127.0.0.1:8404")
    networks: Annotated[tuple[Text, ...], Many, Field(min_length=1)]
    key: Annotated[tuple[Secret, ...], OneOrMany, Field(min_length=1), _either(_TEXT, _TEXTS)]
    keys: Annotated[tuple[Secret, ...], OneOrMany, _either(_TEXT, _TEXTS)] = ()
    max_body: Size = said("64KiB")


class RailsEntry(Section):
    """The ways to be paid."""

    x402: X402Entry | None = None
    conxa: ConxaEntry | None = None


class Unmatched(Section):
    """Requests no route takes go to an upstream, without charge."""

    free: Text


_METHODS = {"anyOf": [_TEXT, _TEXTS]}
_GLOB = {"anyOf": [_TEXT, {"type": "integer"}, {"type": "boolean"}]}
_GLOBS = {"type": "object", "additionalProperties": _GLOB}
Globs = Annotated[dict[str, Any], WithJsonSchema(_GLOBS)]


class MatchEntry(Section):
    """Which requests a route takes."""

    method: Annotated[tuple[Text, ...], OneOrMany, WithJsonSchema(_METHODS)] = ("*",)
    host: Text | None = None
    path: Text
    query: Globs = {}
    headers: Globs = {}
    body: Globs = {}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "pattern": r"^\S+ +/\S*$"}, handler(core)]}


def _match(value: object) -> object:
    if not isinstance(value, str):
        return value
    methods, _, path = value.partition(" ")
    path = path.strip()
    if not path or " " in path:
        raise ValueError("must be `METHOD /path`, `METHOD,METHOD /path`, `* /path`, or a mapping with `path`")
    return {"method": methods.split(","), "path": path}


_PRICE = {
    "anyOf": [
        {"type": "string", "pattern": r"^free$|^\$[0-9]+(\.[0-9]+)?$|^[0-9]+(\.[0-9]+)? \S+$|\$\{"},
        {
            "type": "object",
            "properties": {"amount": {"anyOf": [_TEXT, {"type": "integer"}]}, "asset": _TEXT},
            "required": ["amount", "asset"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "when": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["price"]}},
                "else": {},
            },
            "required": ["when", "else"],
            "additionalProperties": False,
        },
    ]
}
_STATUS = {
    "anyOf": [{"type": "integer", "minimum": 200, "maximum": 599}, {"type": "string", "pattern": "^[2-5]xx$"}]
}


class ExposureEntry(Section):
    """Most that `settle: deferred` may have served and not settled."""

    per_payer: Micros = said("$1")
    total: Micros = said("$50")


class AcceptEntry(Section):
    """One way to pay a route by x402."""

    network: Text
    price: Annotated[Any, WithJsonSchema(_PRICE)]


class X402RouteEntry(Section):
    """What is special about x402 on one route."""

    pay_to: Receivers | None = None
    accepts: Annotated[tuple[AcceptEntry, ...], Many] = ()


class MeteringEntry(Section):
    """How CONXA's charge for a route is counted."""

    meter: Literal["openai", "anthropic", "gemini", "flat"] | None = None
    model: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)] | None = None
    input_tokens: Annotated[int, Field(ge=0, lt=2**53), Whole] | None = None
    output_tokens: Annotated[int, Field(ge=0, lt=2**53), Whole] | None = None
    include_usage: Boolean = False


class RouteEntry(Section):
    """One route, as it is written."""

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200)] | None = None
    match: Annotated[MatchEntry, BeforeValidator(_match)]
    upstream: Text | None = None
    price: Annotated[Any, WithJsonSchema(_PRICE)]
    accept: Annotated[tuple[Text, ...], OneOrMany, Field(min_length=1), _either(_TEXT, _TEXTS)] | None = None
    settle: Literal["after", "before", "deferred"] = "after"
    exposure: ExposureEntry | None = None
    success: Annotated[
        tuple[Any, ...], OneOrMany, Field(min_length=1), _either(_STATUS, {"type": "array", "items": _STATUS})
    ] = ("2xx",)
    on_lost_answer: Literal["release", "settle"] = "release"
    max_attempts: Annotated[int, Field(ge=1, le=1000), Whole] = 5
    allow_encoded: Annotated[tuple[Literal["slash", "percent", "semicolon"], ...], Many] = ()
    description: Line = ""
    mime_type: Line = ""
    timeout: Duration | None = None
    x402: X402RouteEntry | None = None
    conxa: MeteringEntry | None = None


_FREE = {"type": "object", "properties": {"free": _TEXT}, "required": ["free"], "additionalProperties": False}


class Configuration(Section):
    """The whole file: its keys, and the JSON schema. Sections are validated one by one."""

    server: Server = Field(default_factory=Server)
    store: Store = Field(default_factory=Store)
    networks: dict[Name, NetworkEntry | ForeignNetworkEntry] = {}
    upstreams: dict[Name, UpstreamEntry] = {}
    rails: RailsEntry = Field(default_factory=RailsEntry)
    facilitator: FacilitatorServerEntry | None = None
    exposure: ExposureEntry = Field(default_factory=ExposureEntry)
    unmatched: Annotated[Unmatched | None, _either({"const": "deny"}, _FREE)] = None
    policies: Annotated[tuple[Text, ...], OneOrMany, _either(_TEXT, _TEXTS)] = ()
    routes: Annotated[tuple[RouteEntry, ...], Many] = ()


class PolicyFile(Section):
    """A file named in ``policies``."""

    routes: Annotated[tuple[RouteEntry, ...], Many] = ()
