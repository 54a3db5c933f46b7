// What docs/clients.md shows in TypeScript. It reads a token from a letter, and writes what came of each step.

import { createInterface } from "node:readline/promises";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./tessera.js";

type Problem = components["schemas"]["Problem"];
type ValidationProblem = components["schemas"]["ValidationProblem"];
type Tokens = components["schemas"]["Tokens"];
type User = components["schemas"]["User"];
type UserCreate = components["schemas"]["UserCreate"];
type Tessera = Client<paths>;

class Refused extends Error {
  constructor(readonly problem: Problem | ValidationProblem) {
    super(problem.code);
  }
}

// Returns the data of an answer; throws Refused with the problem that came instead.
function expect<T>(answer: { data?: T; error?: Problem | ValidationProblem }): NonNullable<T> {
  if (answer.error) throw new Refused(answer.error);
  return answer.data!;
}

async function signUp(client: Tessera, body: UserCreate): Promise<User> {
  return expect(await client.POST("/v1/users", { body }));
}

async function confirmAddress(client: Tessera, token: string): Promise<User> {
  return expect(await client.POST("/v1/email-verifications/confirm", { body: { token } }));
}

async function signIn(client: Tessera, identifier: string, password: string): Promise<Tokens> {
  const body = { identifier, password, device_name: "Laptop" };
  return expect(await client.POST("/v1/sessions", { body }));
}

async function refresh(client: Tessera, { refresh_token }: Tokens): Promise<Tokens> {
  return expect(await client.POST("/v1/sessions/refresh", { body: { refresh_token } }));
}

function signedIn(url: string, { access_token }: Tokens): Tessera {
  return createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${access_token}` } });
}

const me = { path: { user_id: "me" } };

async function readProfile(client: Tessera): Promise<[User, string]> {
  const answer = await client.GET("/v1/users/{user_id}", { params: me });
  return [expect(answer), answer.response.headers.get("ETag")!];
}

async function rename(client: Tessera, display_name: string, etag: string): Promise<User> {
  const params = { ...me, header: { "If-Match": etag } };
  return expect(await client.PATCH("/v1/users/{user_id}", { params, body: { display_name } }));
}

async function* everyUser(client: Tessera): AsyncGenerator<User> {
  let cursor: string | null | undefined;
  while (cursor !== null) {
    const page = expect(await client.GET("/v1/users", { params: { query: { limit: 3, cursor } } }));
    yield* page.items;
    cursor = page.next_cursor;
  }
}

async function whyNot(client: Tessera, body: UserCreate): Promise<string> {
  try {
    return `Welcome, ${(await signUp(client, body)).username}`;
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    if (!("errors" in refused.problem)) return refused.problem.code;
    return refused.problem.errors.map(({ pointer, code }) => `${pointer}: ${code}`).join(", ");
  }
}

async function signOut(client: Tessera): Promise<void> {
  expect(await client.DELETE("/v1/sessions/current"));
}

async function codeOf(promised: Promise<unknown>): Promise<string> {
  return promised.then(
    (found) => JSON.stringify(found),
    (refused: Refused) => refused.problem.code,
  );
}

async function travel(url: string, username: string, password: string, admin: string): Promise<object> {
  const client = createClient<paths>({ baseUrl: url });
  const person = { username, email: `${username}@example.com`, password };
  const signedUp = await signUp(client, person);
  const confirmed = await confirmAddress(client, await tokenOfLetter());
  const mine = signedIn(url, await refresh(client, await signIn(client, username, password)));
  const [, stale] = await readProfile(mine);
  const renamed = await rename(mine, "Mina Kim", stale);
  const admins = signedIn(url, await signIn(client, admin, password));
  const listed: (string | null)[] = [];
  for await (const user of everyUser(admins)) listed.push(user.username);
  const found = {
    signed_up: [signedUp.username, signedUp.email_verified],
    confirmed: [confirmed.username, confirmed.email_verified],
    renamed: renamed.display_name,
    stale: await codeOf(rename(mine, "Nobody", stale)),
    listed,
    taken: await whyNot(client, { ...person, email: "other@example.com" }),
    unfit: await whyNot(client, { ...person, username: "with space", password: "short" }),
  };
  await signOut(mine);
  return { ...found, signed_out: await codeOf(readProfile(mine)) };
}

async function tokenOfLetter(): Promise<string> {
  const input = createInterface({ input: process.stdin });
  const token = await input.question("");
  input.close();
  return token;
}

const [url, username, password, admin] = process.argv.slice(2) as [string, string, string, string];
console.log(JSON.stringify(await travel(url, username, password, admin)));
