import { createServer } from "node:http";
import { toNodeHandler } from "better-auth/node";
import { auth } from "./auth.mjs";

const server = createServer(toNodeHandler(auth));
server.keepAliveTimeout = 75_000; // as behind a load balancer
server.listen(Number(process.env.PORT), "127.0.0.1");
