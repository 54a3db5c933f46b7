// Fills better-auth's tables.
import { hashPassword } from "better-auth/crypto";
import { getMigrations } from "better-auth/db/migration";
import { auth, database, usesPostgres } from "./auth.mjs";

const { runMigrations } = await getMigrations(auth.options);
await runMigrations();
const hash = await hashPassword(process.env.PEER_PASSWORD);
const rows = Array.from({ length: Number(process.env.PEER_USERS) }, (_, index) => {
  const number = String(index + 1).padStart(6, "0");
  const role = index === 0 ? "admin" : "user";
  return [`u${number}abcdefghijklmnopqrstuvwxy`, `User ${number}`, `user${number}@example.com`, role];
});

if (usesPostgres) {
  await database.query(
    `insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt", role, banned)
     select id, name, email, true, now(), now(), role, false
     from unnest($1::text[], $2::text[], $3::text[], $4::text[]) one (id, name, email, role)`,
    [0, 1, 2, 3].map((column) => rows.map((row) => row[column])),
  );
  await database.query(
    `insert into account (id, "accountId", "providerId", "userId", password, "createdAt", "updatedAt")
     select 'a' || id, id, 'credential', id, $1, now(), now() from "user"`,
    [hash],
  );
  await database.end();
} else {
  const now = new Date().toISOString();
  const user = database.prepare(
    `insert into user (id, name, email, emailVerified, createdAt, updatedAt, role, banned)
     values (?, ?, ?, 1, ?, ?, ?, 0)`,
  );
  const account = database.prepare(
    `insert into account (id, accountId, providerId, userId, password, createdAt, updatedAt)
     values (?, ?, 'credential', ?, ?, ?, ?)`,
  );
  database.transaction(() => {
    for (const [id, name, email, role] of rows) {
      user.run(id, name, email, now, now, role);
      account.run(`a${id}`, id, id, hash, now, now);
    }
  })();
  database.close();
}
