// Fills parse-server's tables, which it makes when it starts, with copies of one who signs up.
const pgp = require("pg-promise")();
const { started } = require("./server.cjs");

(async () => {
  await started;
  const { PEER_DATABASE, PEER_PASSWORD, PEER_USERS, PORT } = process.env;
  const answer = await fetch(`http://127.0.0.1:${PORT}/parse/users`, {
    method: "POST",
    headers: { "X-Parse-Application-Id": "bench", "Content-Type": "application/json" },
    body: JSON.stringify({ username: "first", email: "first@example.com", password: PEER_PASSWORD }),
  });
  if (answer.status !== 201) throw new Error(await answer.text());
  await pgp(PEER_DATABASE).none(
    `insert into "_User"
       ("objectId", "createdAt", "updatedAt", username, email, _rperm, _wperm, _hashed_password)
     select id, now(), now(), email, email, null, array[id], hash
     from (select 'u' || lpad(n::text, 9, '0') as id, 'user' || lpad(n::text, 6, '0') || '@example.com' as email
           from generate_series(1, $1) n) one, (select _hashed_password as hash from "_User" limit 1) first`,
    [Number(PEER_USERS)],
  );
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
