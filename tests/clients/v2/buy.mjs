// Buys one answer with the official x402 v2 client: node buy.mjs URL KEY [METHOD] [BODY] [HEADERS-JSON]
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [url, key, method = "GET", body = "", headers = "{}"] = process.argv.slice(2);
const client = new x402Client().register("eip155:*", new ExactEvmScheme(privateKeyToAccount(key)));
const pay = wrapFetchWithPayment(fetch, client);

try {
  const response = await pay(url, { method, body: body || undefined, headers: JSON.parse(headers) });
  const bytes = Buffer.from(await response.arrayBuffer());
  const answer = { status: response.status, headers: Object.fromEntries(response.headers), bodyBase64: bytes.toString("base64") };
  console.log(JSON.stringify(answer));
} catch (error) {
  console.log(JSON.stringify({ error: error.message, cause: error.cause?.message }));
}
