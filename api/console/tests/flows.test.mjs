import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, longest, scrolled, serve } from "./house.mjs";

let house, browser;
before(async () => { [house, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await house?.stop(); });

test("filters are in the address, and a list is live", async () => {
  const [agent, careful, place] = await Promise.all([house.agent("helper"), house.agent("careful", "always_ask"), house.environment()]);
  await house.rest(await house.session(agent, place, "Fix the flaky test", "/say ok"));
  await house.rest(await house.session(careful, place, "Clean up", '/tool bash {"command":"rm -rf old"}'));
  const page = await browser.open();
  await enter(page, house, "/?view=waiting");
  const list = page.getByRole("list", { name: "Sessions" });
  await list.getByText("Clean up").waitFor();
  assert.equal(await list.getByRole("listitem").count(), 1);
  await page.getByRole("button", { name: /^All/ }).click();
  await page.keyboard.press("/");
  await page.keyboard.type("flaky");
  await page.waitForURL(/q=flaky/);
  await page.waitForFunction(() => document.querySelectorAll("[aria-label=Sessions] > li").length === 1);
  // Filters that are used often get a name, and are found again.
  await page.getByRole("button", { name: "Save this view" }).click();
  await page.getByRole("dialog", { name: "Save this view" }).getByLabel("Name").fill("Flaky ones");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Flaky ones", pressed: true }).waitFor();
  await page.goto(house.url);
  await page.getByRole("button", { name: "Flaky ones", pressed: false }).click();
  await page.waitForURL(/q=flaky/);
  assert.equal(await page.getByLabel("Filter sessions").inputValue(), "flaky");
  await page.getByRole("button", { name: "Forget the view Flaky ones" }).click();
  await page.getByRole("button", { name: "Save this view" }).waitFor();
  await page.getByLabel("Filter sessions").fill("");
  await house.session(agent, place, "Came just now", "/say hi");
  await list.getByRole("link", { name: /Came just now/ }).getByText("rehearsal-1: hi").waitFor();
});

test("ten thousand sessions are a list, and little of it is in the document", async () => {
  const made = await house.session(await house.agent("many"), await house.environment("many"), "Template", "/say hi");
  const template = await house.rest(made);
  const page = await browser.open();
  const frames = Array.from({ length: 10_000 }, (_, n) => `event: session\nid: 1-${n}\ndata: ${JSON.stringify({ ...template, id: `sesn_${String(n).padStart(32, "0")}`, title: `Session ${n}`, created_at: new Date(1_700_000_000_000 + n * 1000).toISOString() })}\n\n`);
  let told = false;
  await page.route("**/console/v1/feed*", (route) => {
    // All at once, and then nothing more.
    if (told) return;
    told = true;
    return route.fulfill({ contentType: "text/event-stream", body: `${frames.join("")}event: live\ndata: {}\n\n` });
  });
  await enter(page, house);
  await page.getByText("Session 9999", { exact: true }).waitFor();
  await page.getByRole("button", { name: /^All 10,000/ }).waitFor();
  const list = await page.evaluateHandle(() => document.querySelector("ul[aria-label=Sessions]").parentElement);
  await list.evaluate((one) => { one.id = "list"; });
  const pass = await longest(browser, page, () => scrolled(page, "#list", 40, "li"));
  assert.ok(pass.most < 60, `${pass.most} rows in the document`);
  assert.ok(pass.height >= 600_000, "all of it can be scrolled to");
  assert.ok(pass.longest <= 200, `a task of ${pass.longest} ms`);
  await page.getByLabel("Filter sessions").fill("Session 9876");
  await page.waitForFunction(() => document.querySelectorAll("[aria-label=Sessions] > li").length === 1);
});

test("an agent is made, changed and compared with what it was", async () => {
  const page = await browser.open();
  await enter(page, house, "/agents");
  await page.getByRole("button", { name: "New agent" }).click();
  const form = page.getByRole("dialog", { name: "New agent" });
  await form.getByLabel("Name").fill("scribe");
  await form.getByLabel("System prompt").fill("Write it down.");
  await form.getByRole("button", { name: "Create" }).click();
  await page.getByRole("heading", { name: "scribe" }).waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
  const edit = page.getByRole("dialog", { name: "Edit scribe" });
  await edit.getByLabel("System prompt").fill("Write it down, twice.");
  await edit.getByRole("button", { name: "Save as version 2" }).click();
  await page.getByRole("heading", { name: "Version 1 to 2" }).waitFor();
  await page.getByRole("region", { name: "Changes" }).getByText("Write it down, twice.").waitFor();

  // It takes mail once it has a place to answer in, and no longer when that is taken back.
  const place = await house.environment("post office");
  await page.reload();
  await page.getByText("Takes none").waitFor();
  await page.getByRole("button", { name: "Edit" }).click();
  await edit.getByLabel("May write mail to others").check();
  await edit.getByLabel("Takes mail").selectOption("In post office");
  await edit.getByLabel("Answers in").selectOption("One session for all");
  await edit.getByRole("button", { name: "Save as version 3" }).click();
  await page.getByRole("link", { name: "agent/scribe" }).waitFor();
  const scribe = async () => (await house.api("GET", "/agents")).data.find((one) => one.name === "scribe");
  const made = await scribe();
  assert.deepEqual(made.mail, { environment_id: place, sessions: "single" });
  assert.deepEqual(made.tools.map((one) => one.type), ["agent_toolset_20260401", "mail_toolset"]);
  await page.getByRole("button", { name: "Edit" }).click();
  await edit.getByLabel("Takes mail").selectOption("No");
  await edit.getByRole("button", { name: "Save as version 4" }).click();
  await page.getByText("Takes none").waitFor();
  assert.equal((await scribe()).mail ?? null, null);
});

test("a machine is connected by the command that is shown", async () => {
  const page = await browser.open();
  await enter(page, house, "/executors");
  await page.getByRole("button", { name: "Connect a machine" }).first().click();
  const command = page.getByLabel("Command", { exact: true });
  await page.waitForFunction(() => /xc_/.test(document.querySelector("[aria-label=Command]")?.textContent ?? ""));
  assert.match(await command.textContent(), new RegExp(`^perennial connect --server ${house.url} --code xc_[0-9a-f]+$`));
});

test("a budget is made, and shows what it bounds", async () => {
  const page = await browser.open();
  await enter(page, house, "/budgets");
  await page.getByRole("button", { name: "New budget" }).first().click();
  const form = page.getByRole("dialog", { name: "New budget" });
  await form.getByLabel("Limit in US dollars").fill("12.50");
  await form.getByRole("button", { name: "Create" }).click();
  await page.getByText("$12.50 a day").waitFor();
  const [budget] = (await house.api("GET", "/budgets")).data;
  assert.equal(budget.limit, 12_500_000);
});

test("a gateway key is shown once, and revoked", async () => {
  const page = await browser.open();
  await enter(page, house, "/keys");
  await page.getByRole("button", { name: "New key" }).first().click();
  const form = page.getByRole("dialog", { name: "New gateway key" });
  await form.getByLabel("Name").fill("editor");
  await form.getByRole("button", { name: "Make" }).click();
  await form.getByText(/^vk_/).waitFor();
  await form.getByRole("button", { name: "Done" }).click();
  await page.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("dialog", { name: "Revoke editor?" }).getByRole("button", { name: "Revoke" }).click();
  await page.getByText("Revoked", { exact: true }).waitFor();
});

test("usage is told by model, agent, session and day, and leads to what used it", async () => {
  const agent = await house.agent("counted");
  await house.rest(await house.session(agent, await house.environment("counted"), "What it cost", "/say hi"));
  const page = await browser.open();
  await enter(page, house, "/usage");
  const rows = (by) => page.getByRole("region", { name: `Usage by ${by}` }).getByRole("row");
  await rows("model").filter({ hasText: "rehearsal-1" }).waitFor();
  const choose = (label, option) => page.getByRole("group", { name: label }).getByRole("button", { name: option, exact: true }).click();
  await choose("Group by", "Session");
  await rows("session").filter({ hasText: "What it cost" }).waitFor();
  await choose("Group by", "Day");
  await rows("day").filter({ hasText: new Date().toISOString().slice(0, 10) }).waitFor();
  await choose("Period", "7 days");
  await page.waitForURL(/days=(%22)?7/);
  await choose("Group by", "Agent");
  await rows("agent").getByRole("link", { name: "counted" }).click();
  await page.getByRole("heading", { name: "counted" }).waitFor();
  assert.match(page.url(), new RegExp(agent));
});

test("settings say what the server was started with, and keep what is chosen", async () => {
  const page = await browser.open();
  await enter(page, house, "/settings");
  const part = (name) => page.getByRole("region", { name, exact: true });
  await part("This server").getByText(/^key_/).waitFor();
  await part("Models").getByText("anthropic", { exact: true }).waitFor();
  await part("Models").getByText("Key missing").first().waitFor();
  await part("Models").getByText("ANTHROPIC_API_KEY", { exact: true }).waitFor();
  await part("Prices").getByText("No prices are set").waitFor();
  await part("Who may use how much").getByRole("link", { name: /budget/ }).waitFor();
  await part("This browser").getByRole("button", { name: "Dark" }).click();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await part("This browser").getByRole("button", { name: "System" }).click();
  assert.deepEqual(browser.wrong, []);
});

test("an environment is made, renamed and deleted", async () => {
  const page = await browser.open();
  await enter(page, house, "/environments");
  await page.getByRole("button", { name: "New environment" }).first().click();
  const form = page.getByRole("dialog", { name: "New environment" });
  await form.getByLabel("Name").fill("workbench");
  await form.getByLabel("Tools run in").selectOption("local");
  await form.getByRole("button", { name: "Create" }).click();
  const list = page.getByRole("list", { name: "Environments" });
  await list.getByText("workbench").waitFor();
  await page.getByRole("button", { name: "Actions for workbench" }).click();
  await page.getByRole("menuitem", { name: "Delete" }).click();
  await page.getByRole("dialog", { name: "Delete workbench?" }).getByRole("button", { name: "Delete" }).click();
  await list.getByText("workbench").waitFor({ state: "detached" });
  assert.deepEqual(browser.wrong, []);
});
