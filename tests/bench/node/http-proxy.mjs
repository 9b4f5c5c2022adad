// node http-proxy.mjs PORT UPSTREAM
import http from "node:http";
import httpProxy from "http-proxy";

const [port, target] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
const proxy = httpProxy.createProxyServer({ target, agent });
proxy.on("error", (error, request, response) => response.writeHead?.(502).end());
const server = http.createServer((request, response) => proxy.web(request, response));
server.keepAliveTimeout = 300_000;
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 1024 });
