// A shop on @x402/express: node serve.mjs PORT FACILITATOR-URL FACILITATOR-KEY PAY-TO
import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";

const [port, url, key, payTo] = process.argv.slice(2);
const bearer = { Authorization: `Bearer ${key}` };
const createAuthHeaders = async () => ({ verify: bearer, settle: bearer, supported: bearer });
const facilitator = new HTTPFacilitatorClient({ url, createAuthHeaders });
const server = new x402ResourceServer(facilitator).register("eip155:84532", new ExactEvmScheme());
const accepts = [{ scheme: "exact", price: "$0.01", network: "eip155:84532", payTo }];

const app = express();
app.use(paymentMiddleware({ "GET /goods": { accepts, description: "Goods", mimeType: "text/plain" } }, server));
app.get("/goods", (request, response) => response.type("text").send("goods"));
app.listen(Number(port), "127.0.0.1", () => console.log("shop is open"));
