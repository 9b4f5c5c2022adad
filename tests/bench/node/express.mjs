// node express.mjs PORT UPSTREAM
import http from "node:http";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";

const [port, target] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
const app = express();
app.use(createProxyMiddleware({ target, agent, logger: undefined }));
const server = http.createServer(app);
server.keepAliveTimeout = 300_000;
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 1024 });
