export interface Tokens {
  access_token: string;
  refresh_token: string;
}

/**
 * Returns a fetch that sends the access token. When that has died it refreshes, once for all who wait,
 * and sends each request again. `keep` stores each new pair; null tells that the session has ended.
 */
export function refreshingFetch(url: string, first: Tokens, keep: (tokens: Tokens | null) => void) {
  let tokens: Tokens | null = first;
  let refreshing: Promise<void> | null = null;

  async function refresh(used: Tokens): Promise<void> {
    const answer = await fetch(`${url}/v1/sessions/refresh`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ refresh_token: used.refresh_token }),
    });
    if (!answer.ok && answer.status !== 401) return; // Too busy, say: whoever comes next tries again.
    tokens = answer.ok ? ((await answer.json()) as Tokens) : null;
    keep(tokens);
  }

  function send(request: Request): Promise<Response> {
    if (tokens) request.headers.set("Authorization", `Bearer ${tokens.access_token}`);
    return fetch(request);
  }

  return async function (input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    const request = new Request(input, init);
    const used = tokens;
    const answer = await send(request.clone());
    if (!used || !(await hasDied(answer))) return answer;
    if (used === tokens) await (refreshing ??= refresh(used).finally(() => (refreshing = null)));
    return tokens && used !== tokens ? send(request) : answer;
  };
}

async function hasDied(answer: Response): Promise<boolean> {
  return answer.status === 401 && (await answer.clone().json()).code === "invalid_token";
}
