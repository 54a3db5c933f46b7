// Accounts by better-auth: addresses and passwords, bearer tokens, JWT, and its plugin for administrators.
import { betterAuth } from "better-auth";
import { admin, bearer, jwt } from "better-auth/plugins";
import Database from "better-sqlite3";
import pg from "pg";

const url = process.env.PEER_DATABASE;
export const usesPostgres = url.startsWith("postgresql:");
export const database = usesPostgres
  ? new pg.Pool({ connectionString: url, max: 10 })
  : new Database(url.replace("sqlite:///", ""));
if (!usesPostgres) {
  for (const pragma of ["journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000"]) {
    database.pragma(pragma);
  }
}

export const auth = betterAuth({
  baseURL: `http://127.0.0.1:${process.env.PORT}`,
  secret: "harness-secret-key-0123456789abcdef-0123456789abcdef",
  database,
  emailAndPassword: { enabled: true },
  // The plugin jwt would sign a token into a header of every answer to get-session.
  plugins: [bearer(), jwt({ disableSettingJwtHeader: true }), admin()],
  rateLimit: { enabled: false }, // it would answer 429 under load
  telemetry: { enabled: false },
});
