// Sends many requests at once by the fetch of docs/clients.md, with a dead access token, and writes what came.

import createClient from "openapi-fetch";
import { refreshingFetch, type Tokens } from "./refreshing.js";
import type { paths } from "./tessera.js";

const [url, given, times] = process.argv.slice(2) as [string, string, string];
const kept: (Tokens | null)[] = [];
const stored: Tokens = JSON.parse(given);
const client = createClient<paths>({
  baseUrl: url,
  fetch: refreshingFetch(url, stored, (tokens) => kept.push(tokens)),
});

async function setLocale(): Promise<number> {
  const answer = await client.PATCH("/v1/users/{user_id}", {
    params: { path: { user_id: "me" } },
    body: { locale: "ko-KR" },
  });
  return answer.response.status;
}

const statuses = await Promise.all(Array.from({ length: Number(times) }, setLocale));
console.log(JSON.stringify({ statuses, kept }));
