// Accounts by parse-server, on PostgreSQL.
const express = require("express");
const { ParseServer } = require("parse-server");

const port = Number(process.env.PORT);

exports.started = (async () => {
  const server = new ParseServer({
    databaseURI: process.env.PEER_DATABASE.replace("postgresql:", "postgres:"),
    appId: "bench",
    masterKey: "bench-master",
    masterKeyIps: ["127.0.0.1", "::1", "::ffff:127.0.0.1"],
    serverURL: `http://127.0.0.1:${port}/parse`,
    allowClientClassCreation: false,
    enableAnonymousUsers: false,
    silent: true,
    verbose: false,
    logsFolder: null,
    logLevel: "error",
  });
  await server.start();
  const app = express();
  app.use("/parse", server.app);
  await new Promise((resolve) => {
    app.listen(port, "127.0.0.1", resolve).keepAliveTimeout = 75_000; // as behind a load balancer
  });
})();
