// Reads and tries the page /docs in a browser, as tests/browser.py asks; fails when anything is refused.
import { chromium } from "playwright-core";

const [executable, origin, token, username, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: executable, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
const wrong = [];
page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
page.on("pageerror", (error) => wrong.push(String(error)));
page.on("request", (request) => new URL(request.url()).origin === origin || wrong.push(request.url()));

await page.goto(`${origin}/docs`);
await page.locator(".info .title").waitFor();
await page.locator(".auth-wrapper .authorize").click();
await page.locator(".modal-ux input").fill(token);
await page.locator(".modal-ux button.authorize").click();
await page.locator(".modal-ux .btn-done").click();

const operation = page.locator("#operations-users-getUser");
await operation.locator(".opblock-summary-control").click();
await operation.locator(".try-out__btn").click();
await operation.locator('tr[data-param-name="user_id"] input').fill("me");
await operation.locator(".execute").click();
const live = operation.locator(".live-responses-table .response");
await live.waitFor();
const status = (await live.locator(".response-col_status").innerText()).trim().slice(0, 3);
const body = await live.locator(".response-col_description").innerText();
await operation.screenshot({ path: screenshot.replace(/\.png$/, "-operation.png") });

const list = page.locator("#operations-users-listUsers");
await list.locator(".opblock-summary-control").click();
await list.locator(".try-out__btn").click();
await list.locator(".execute").click();
const url = new URL((await list.locator(".request-url pre").innerText()).trim());
const filters = [...url.searchParams.keys()].filter((name) => !["limit", "count", "sort"].includes(name));
await list.locator(".opblock-summary-control").click();
await operation.locator(".opblock-summary-control").click();

await page.evaluate(() => scrollTo(0, 0));
await page.screenshot({ path: screenshot });
await browser.close();

if (status !== "200") wrong.push(`GET /v1/users/me answered ${status}`);
if (!body.includes(`"username": "${username}"`)) wrong.push(`the answer is not of ${username}: ${body}`);
if (filters.length) wrong.push(`GET /v1/users was sent what nobody filled in: ${filters}`);
for (const line of wrong) console.error(line);
process.exit(wrong.length ? 1 : 0);
