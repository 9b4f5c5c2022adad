// @x402/hono: node x402-hono.mjs PORT FACILITATOR PAY-TO
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/hono";

const [port, url, payTo] = process.argv.slice(2);
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url })).register(
  "eip155:84532",
  new ExactEvmScheme(),
);
const accepts = [{ scheme: "exact", price: "$0.01", network: "eip155:84532", payTo }];
const goods = "x".repeat(1024);
const app = new Hono();
app.use(paymentMiddleware({ "GET /v1/1k": { accepts, description: "", mimeType: "" } }, server));
app.get("/v1/1k", (context) => context.text(goods));
const listening = serve({ fetch: app.fetch, port: Number(port), hostname: "127.0.0.1" });
listening.keepAliveTimeout = 300_000;
