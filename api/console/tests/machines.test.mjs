import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer as createSite } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { enter, everybody, said } from "./house.mjs";
import { attached, furnish, says, terminal } from "./laptop.mjs";

let house, browser, laptop, session;
before(async () => { ({ house, browser, laptop, session } = await furnish()); });
after(async () => { await browser?.close(); await house?.stop(); });

test("from a session one is on the machine it works on", async () => {
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Turn finished").waitFor();
  await page.keyboard.press("t");
  await attached(page);
  await says(page, "ls", "new.html");
  await terminal(page).getByRole("button", { name: "Close the terminal" }).click();
  await terminal(page).waitFor({ state: "detached" });
  // And from everywhere by its name.
  await page.keyboard.press("Control+k");
  await page.getByPlaceholder("Search sessions").fill("terminal laptop");
  await page.getByRole("option", { name: /^Terminal on laptop/ }).click();
  await page.getByRole("heading", { name: "laptop", exact: true }).waitFor();
  await attached(page);
  // A session without a machine says what it would need.
  const plain = await house.session(await house.agent("plain"), await house.environment("plain"), "Plain", "/say hi");
  await page.goto(`${house.url}/sessions/${plain}?terminal=last`);
  await page.getByRole("heading", { name: "No machine to type on" }).waitFor();
  // It is given one, and loses it again.
  await house.rest(plain);
  await page.getByRole("button", { name: "Attach laptop" }).click();
  await attached(page);
  // Of several one chooses.
  const other = await house.machine("other");
  await house.api("POST", `/sessions/${plain}/executors`, { executor_id: other.id });
  await page.getByLabel("Machine", { exact: true }).selectOption("other");
  await attached(page, "other");
  await page.getByRole("complementary").getByRole("button", { name: "Resources" }).click();
  for (const machine of ["other", "laptop"]) await page.getByRole("complementary").getByRole("button", { name: `Detach ${machine}` }).click();
  await page.getByRole("heading", { name: "No machine to type on" }).waitFor();
  assert.deepEqual((await house.api("GET", `/sessions/${plain}`)).agent.executors ?? [], []);
  // It gets another name, and its token is taken back.
  await page.goto(`${house.url}/executors`);
  await page.getByRole("button", { name: "Actions for other" }).click();
  await page.getByRole("menuitem", { name: "Rename" }).click();
  await page.getByRole("dialog", { name: "Rename" }).getByLabel("Name").fill("spare");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Actions for spare" }).click();
  await page.getByRole("menuitem", { name: "Remove" }).click();
  await page.getByRole("dialog", { name: "Remove spare?" }).getByRole("button", { name: "Remove" }).click();
  await page.getByText("spare", { exact: true }).waitFor({ state: "detached" });
  assert.ok(!(await house.api("GET", "/executors")).data.some((one) => one.id === other.id));
});

test("on a slow machine, where time passes between any two looks at the clock, pages come to rest", async () => {
  const page = await browser.open();
  await page.addInitScript(() => {
    let now = Date.now();
    Date.now = () => ++now;
  });
  await enter(page, house, "/executors");
  await page.getByRole("button", { name: "Actions for laptop" }).click();
  await page.getByRole("menuitem", { name: "Rename" }).click();
  const dialog = page.getByRole("dialog", { name: "Rename" });
  await dialog.getByRole("button", { name: "Close" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByRole("link", { name: "laptop", exact: true }).waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("what a session has changed is read side by side, and taken along as a patch", async () => {
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Turn finished").waitFor();
  await page.keyboard.press("v");
  const changes = page.getByRole("region", { name: "Changes", exact: true });
  await changes.getByText("2 files").waitFor();
  await changes.getByRole("region", { name: "Changes of kept.txt" }).getByText("LINE", { exact: true }).waitFor();
  await changes.getByRole("region", { name: "Changes of new.html" }).getByText("<img src=x onerror=window.pwned=1>").waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  const [download] = await Promise.all([page.waitForEvent("download"), changes.getByRole("button", { name: "Save as patch" }).click()]);
  const patch = readFileSync(await download.path(), "utf8");
  assert.match(patch, /^diff --git a\/kept\.txt b\/kept\.txt$/m);
  assert.match(patch, /^\+LINE$/m);
  await changes.getByLabel("Changes since").selectOption("Staged");
  await changes.getByRole("heading", { name: "Nothing has changed" }).waitFor();
  await page.keyboard.press("v");
  await page.getByRole("log", { name: "Conversation" }).waitFor();
  // Where nothing has run there is nothing to see, and no failure.
  const fresh = await house.session(await house.agent("fresh"), await house.environment("fresh"), "Fresh");
  await page.goto(`${house.url}/sessions/${fresh}?view=changes`);
  await page.getByRole("heading", { name: "Nothing has run yet" }).waitFor();
  await house.api("POST", `/sessions/${fresh}/events`, { events: [said('/tool bash {"command":"true"}')] });
  await house.rest(fresh);
  await page.getByText("The session’s folder is not in a git repository").waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("a machine's folders are walked through, a file is read, and one is stored", async () => {
  const hostile = "<img src=x onerror=window.pwned=1>.txt";
  mkdirSync(join(laptop.work, "deep/er"), { recursive: true });
  writeFileSync(join(laptop.work, "deep/er", hostile), "found it");
  const page = await browser.open();
  await enter(page, house, `/executors/${laptop.id}?panel=files`);
  const entries = page.getByRole("list", { name: "Entries" });
  await entries.getByRole("button", { name: /^deep/ }).click();
  await entries.getByRole("button", { name: /^er/ }).click();
  await entries.getByRole("button", { name: hostile }).click();
  await page.getByText("found it").waitFor();
  assert.match(page.url(), /path=deep%2Fer%2F/);
  await page.goBack();
  await page.getByRole("heading", { name: "No file is chosen" }).waitFor();
  await page.keyboard.press("u");
  await page.keyboard.press("u");
  await entries.getByRole("button", { name: /^kept\.txt/ }).waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await page.getByLabel("Open a path").fill("new.html");
  await page.keyboard.press("Enter");
  await page.getByLabel("Text of new.html").getByText("<img src=x onerror=window.pwned=1>").waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save" }).click()]);
  assert.equal(readFileSync(await download.path(), "utf8"), readFileSync(join(laptop.work, "new.html"), "utf8"));
  await page.getByLabel("Open a path").fill("../outside");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByRole("navigation", { name: "Folders" }).getByRole("button").first().click();
  await page.getByRole("button", { name: "Store" }).click();
  await page.getByLabel("File to store").setInputFiles({ name: "brought.bin", mimeType: "application/octet-stream", buffer: Buffer.from([1, 0, 255]) });
  await page.getByLabel("Its path there").fill("made/brought.bin");
  await page.getByRole("dialog").getByRole("button", { name: "Store", exact: true }).click();
  await page.getByText("Stored made/brought.bin").waitFor();
  assert.deepEqual([...readFileSync(join(laptop.work, "made/brought.bin"))], [1, 0, 255]);
  await page.getByText("It is no text, or too long").waitFor();
  await entries.getByRole("button", { name: /^brought\.bin/ }).and(page.locator("[aria-current=true]")).waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("ports that listen on a machine are told, with the command that reaches them", async () => {
  const listens = createServer(() => {});
  await new Promise((done) => listens.listen(0, "127.0.0.1", done));
  const { port } = listens.address();
  const page = await browser.open();
  await enter(page, house, "/executors");
  await page.getByRole("link", { name: "Ports of laptop" }).click();
  await page.getByLabel("Port", { exact: true }).fill("8080");
  await page.getByText("perennial forward laptop 8080", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Look", exact: true }).click();
  const row = page.getByRole("list", { name: "Ports" }).getByRole("listitem").filter({ hasText: String(port) });
  await row.getByRole("button", { name: `Copy command for port ${port}` }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `perennial forward laptop ${port}`);
  await page.getByLabel("Port", { exact: true }).fill("70000");
  await page.getByText("1 to 65535").waitFor();
  listens.close();
  assert.deepEqual(browser.wrong, []);
});

test("what a machine serves is a site in a tab of its own, which sees nothing of the console", async () => {
  const asked = [];
  const site = createSite((request, response) => {
    asked.push(request);
    response.setHeader("content-type", "text/html");
    response.setHeader("set-cookie", ["theme=dark; Path=/", "wide=1; Domain=localhost; Path=/"]);
    response.end(`<h1>Made on the laptop</h1><p>${request.headers.cookie ?? "no cookies"}</p>`);
  });
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
  const { port } = site.address();
  const page = await browser.open();
  await enter(page, house, `/executors/${laptop.id}?panel=ports`);
  await page.getByLabel("Port", { exact: true }).fill(String(port));
  const opened = page.waitForEvent("popup");
  await page.getByRole("button", { name: `Open port ${port} in a tab` }).click();
  const tab = await opened;
  await tab.getByRole("heading", { name: "Made on the laptop" }).waitFor();
  assert.equal(new URL(tab.url()).hostname, `${port}--${laptop.id.slice(5)}.localhost`);
  assert.equal(new URL(tab.url()).pathname, "/");
  assert.equal(await tab.evaluate(() => window.opener), null);
  assert.match(await tab.evaluate(() => document.cookie), /theme=dark/);
  await tab.reload();
  await tab.getByText("theme=dark; wide=1").waitFor();
  for (const request of asked) {
    assert.equal(request.headers.host, `localhost:${port}`);
    assert.doesNotMatch(JSON.stringify(request.rawHeaders), /perennial|127\.0\.0\.1/i);
  }
  // Where nobody listens it says so, in words.
  site.close();
  await tab.reload();
  await tab.getByText(`port ${port}`).waitFor();
  await tab.close();
  assert.deepEqual(browser.wrong, []);
});

test("machines can be used by everybody", async () => {
  const found = await everybody(browser, house, {
    machines: { path: "/executors", ready: (page) => page.getByRole("link", { name: "Terminal on laptop" }).waitFor(), looks: ["light"] },
    terminal: { path: `/executors/${laptop.id}`, ready: async (page) => { await attached(page); await says(page, "clear; ls -la --color=always; git --no-pager -c color.ui=always log --oneline; git --no-pager -c color.ui=always diff | head -20", "first"); }, looks: ["light", "dark", "phone"] },
    files: { path: `/executors/${laptop.id}?panel=files&path=kept.txt`, ready: (page) => page.getByText("line 3").first().waitFor(), looks: ["light", "dark"] },
    folder: { path: `/executors/${laptop.id}?panel=files`, ready: (page) => page.getByRole("list", { name: "Entries" }).waitFor(), looks: ["light"] },
    ports: { path: `/executors/${laptop.id}?panel=ports`, ready: async (page) => { await page.getByRole("button", { name: "Look", exact: true }).click(); await page.getByRole("list", { name: "Ports" }).waitFor(); }, looks: ["light", "dark"] },
    "session-terminal": { path: `/sessions/${session}?terminal=last`, ready: (page) => attached(page), looks: ["light"] },
    changes: { path: `/sessions/${session}?view=changes`, ready: (page) => page.getByRole("region", { name: "Changes of kept.txt" }).waitFor(), looks: ["light", "dark", "phone"] },
  });
  assert.deepEqual(found, []);
  assert.deepEqual(browser.wrong, []);
});
