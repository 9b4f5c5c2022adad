// @x402/express, alone or as a proxy: node x402-express.mjs PORT FACILITATOR PAY-TO [UPSTREAM]
import http from "node:http";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";

const [port, url, payTo, target] = process.argv.slice(2);
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url })).register(
  "eip155:84532",
  new ExactEvmScheme(),
);
const accepts = [{ scheme: "exact", price: "$0.01", network: "eip155:84532", payTo }];
const app = express();
app.use(paymentMiddleware({ "GET /v1/1k": { accepts, description: "", mimeType: "" } }, server));
if (target) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
  app.use(createProxyMiddleware({ target, agent }));
} else {
  const goods = "x".repeat(1024);
  app.get("/v1/1k", (request, response) => response.type("text").send(goods));
}
const listening = http.createServer(app);
listening.keepAliveTimeout = 300_000;
listening.listen({ port: Number(port), host: "127.0.0.1", backlog: 1024 });
